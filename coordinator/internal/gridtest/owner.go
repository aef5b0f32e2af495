package gridtest

import (
	"context"
	"sync"
	"time"

	"google.golang.org/grpc/stats"
	"google.golang.org/protobuf/proto"

	"idlegrid/agent"
)

// Owner is the person whose PC a machine is, as its agent sees them. The zero one left long ago, and nothing else keeps
// the PC from working.
type Owner struct {
	mu      sync.Mutex // guards what follows
	types   bool       // all the time
	changes func(*agent.Observation)
}

// Types has the owner use the PC from now on, or no more.
func (o *Owner) Types(yes bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.types = yes
}

// Sees changes what is seen of the PC from now on; nil: nothing is changed.
func (o *Owner) Sees(change func(*agent.Observation)) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.changes = change
}

// Changed implements agent.Signals: nothing tells of the owner but looking.
func (o *Owner) Changed() <-chan struct{} { return nil }

// Observe implements agent.Signals.
func (o *Owner) Observe(now time.Time) agent.Observation {
	o.mu.Lock()
	defer o.mu.Unlock()
	var seen agent.Observation
	for _, at := range []*time.Time{
		&seen.Sessions.At, &seen.Others.At, &seen.Memory.At, &seen.Disk.At, &seen.Power.At, &seen.Temperature.At,
		&seen.Presenting.At, &seen.Programs.At, &seen.Metered.At,
	} {
		*at = now
	}
	seen.Power.None, seen.Temperature.None = true, true
	seen.Memory.Value.Total, seen.Memory.Value.Available = 8<<30, 7<<30
	input := now.Add(-24 * time.Hour)
	if o.types {
		input = now
	}
	seen.Sessions.Value = []agent.Session{{ID: "1", User: "1000", Kind: "graphical", Input: input, Reported: now}}
	if o.changes != nil {
		o.changes(&seen)
	}
	return seen
}

// tap tells of all that a machine asks others.
type tap struct {
	*meter
	sends func(method string, m proto.Message)
}

type methodKey struct{}

// TagRPC implements stats.Handler.
func (t tap) TagRPC(ctx context.Context, info *stats.RPCTagInfo) context.Context {
	return context.WithValue(t.meter.TagRPC(ctx, info), methodKey{}, info.FullMethodName)
}

// HandleRPC implements stats.Handler.
func (t tap) HandleRPC(ctx context.Context, s stats.RPCStats) {
	if out, ok := s.(*stats.OutPayload); ok {
		if m, ok := out.Payload.(proto.Message); ok {
			t.sends(ctx.Value(methodKey{}).(string), m)
		}
	}
	t.meter.HandleRPC(ctx, s)
}
