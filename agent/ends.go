package agent

import (
	"context"
	"sync"
	"time"

	"idlegrid/agent/peer"
	"idlegrid/agent/peer/records"
	"idlegrid/jobs"
)

const (
	// maxEnds bounds the ends that wait to be passed on. What is above it others learn when they compare
	// records, a minute or so later.
	maxEnds = 256
	// maxTold bounds the calls at once, and tellTimeout each of them: a peer that hangs holds up few others.
	maxTold     = 16
	tellTimeout = 5 * time.Second
)

// onEnd queues a cancel or seal that is new here.
func (a *Agent) onEnd(c records.Change) {
	select {
	case a.ends <- c:
	default:
	}
}

// passEndsOn tells of jobs that were cancelled or sealed those who hold units of them from this agent, and those
// who lend the same shards, so that the units end within seconds and not when records are next compared.
func (a *Agent) passEndsOn(ctx context.Context) {
	var calls sync.WaitGroup
	defer calls.Wait()
	slots := make(chan struct{}, maxTold)
	for {
		select {
		case <-ctx.Done():
			return
		case c := <-a.ends:
			offer, to := a.circleOf(c)
			for _, m := range to {
				select {
				case <-ctx.Done():
					return
				case slots <- struct{}{}:
				}
				calls.Go(func() {
					a.passOn(ctx, m, offer)
					<-slots
				})
			}
		}
	}
}

// circleOf returns the record and whom it is for: nobody, where the job expired meanwhile.
func (a *Agent) circleOf(c records.Change) (records.Offer, []peer.Member) {
	job, err := a.node.Store.Job(c.Job)
	if err != nil {
		return records.Offer{}, nil
	}
	offer, err := a.node.Store.Get(c.Ended)
	if err != nil {
		return records.Offer{}, nil
	}
	return offer, a.steward.Circle(job)
}

func (a *Agent) passOn(ctx context.Context, m peer.Member, offer records.Offer) {
	ctx, cancel := context.WithTimeout(ctx, tellTimeout)
	defer cancel()
	conn, err := a.node.Dialer.Conn(m.Address, m.ID)
	var refused []records.Refusal
	if err == nil {
		refused, err = records.Push(ctx, conn, []records.Offer{offer}, false)
	}
	if err == nil && len(refused) > 0 {
		err = jobs.Errorf(jobs.Denied, "refused: %s", refused[0].Reason)
	}
	if err != nil {
		a.log.Info("an agent hears later that a job has ended", "agent", m.ID, "err", err)
	}
}
