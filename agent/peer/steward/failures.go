package steward

import (
	"context"
	"time"

	"idlegrid/agent/peer/records"
	"idlegrid/agent/peer/rpc"
	"idlegrid/jobs/ledger"
	"idlegrid/jobs/record"
	gridv1 "idlegrid/proto/grid/v1"
)

const (
	// maxFailures bounds the units that one call tells of.
	maxFailures = 100
	// unitsALook is how many units are looked at before others get at the records.
	unitsALook = 1 << 14
)

// Failures tells why the first units failed or are in conflict, as this agent's records have it.
func (s *Steward) Failures(ctx context.Context, req *gridv1.FailuresRequest) (*gridv1.FailuresReply, error) {
	if _, err := rpc.Allow(ctx, gridv1.Steward_Failures_FullMethodName); err != nil {
		return nil, err
	}
	scope, err := records.ScopeFromProto(req.GetShard())
	if err != nil {
		return nil, err
	}
	if _, err := s.o.Store.Job(scope.Shard.Job); err != nil {
		return nil, err
	}
	f := failures{most: int(min(req.GetMost(), maxFailures)), now: time.Now()}
	for first := true; first || !f.done(); first = false {
		look := f.look
		if first {
			look = f.begin
		}
		if err := s.o.Store.WithLedger(scope.Shard, look); err != nil {
			return nil, err
		}
	}
	return &gridv1.FailuresReply{Units: f.found}, nil
}

// failures looks for units that failed, or are in conflict, a part of the shard at a time: nobody else gets at the
// records meanwhile.
type failures struct {
	most  int
	now   time.Time
	left  uint64 // how many there are besides
	next  uint64 // unit
	end   uint64
	found []*gridv1.FailedUnit
}

func (f *failures) begin(l *ledger.Ledger) {
	c := l.Counts(f.now)
	first, units := l.Units()
	f.left, f.next, f.end = c.Failed+c.Conflict, first, first+units
}

func (f *failures) done() bool { return f.left == 0 || len(f.found) >= f.most || f.next >= f.end }

func (f *failures) look(l *ledger.Ledger) {
	for stop := min(f.end, f.next+unitsALook); f.next < stop && !f.done(); f.next++ {
		switch u := l.Unit(f.next, f.now); u.Status {
		case ledger.Failed:
			f.left--
			f.found = append(f.found, failedToProto(f.next, u))
		case ledger.Conflict:
			f.left--
			f.found = append(f.found, &gridv1.FailedUnit{Unit: f.next, Attempts: u.Attempts})
		default:
		}
	}
}

func failedToProto(n uint64, u ledger.Unit) *gridv1.FailedUnit {
	f := &gridv1.FailedUnit{
		Unit: n, Failure: record.FailureToProto(u.Failure), Attempts: u.Attempts, Pack: record.BlobToProto(u.From.Pack), Author: u.From.Author[:],
	}
	if !u.Outcome.IsZero() {
		f.Outcome = u.Outcome[:]
	}
	return f
}
