package agent

import (
	"errors"
	"fmt"
	"math"
	"os"
	"time"

	"idlegrid/agent/internal/harvest"
	"idlegrid/agent/internal/harvest/policy"
	"idlegrid/agent/internal/harvest/signals"
	"idlegrid/agent/internal/worker"
	"idlegrid/agent/peer"
	"idlegrid/agent/peer/node"
	"idlegrid/jobs/manifest"
)

// exportEvery is how often the owner's side writes what Prometheus is told, at most: it is told what is on disk.
const exportEvery = time.Minute

// Signals sees the owner.
type Signals = harvest.Signals

// Observation is what Signals see.
type Observation = signals.Observation

// Session is somebody who is logged in.
type Session = signals.Session

// Ended is a unit that ended.
type Ended = worker.Ended

// Owner is how an agent gets on with the owner of its PC. One of class always-on has none, and needs nothing of this.
type Owner struct {
	Signals Signals       // nil: nobody can be seen, so that the agent does not work
	Policy  *policy.Store // nil: the defaults
	// Used is the CPU time that the agent and its units have used so far; nil: nobody says.
	Used func() time.Duration
	// Working is told when units begin to run or stand frozen here, and when there are none any more; nil: nobody is.
	Working func(bool)
}

// offered is how many cores the agent may offer: all that it was given, but none where an owner cannot be seen, because
// unknown means active.
func (a *Agent) offered() (int, error) {
	class, err := node.ClassOf(a.o.State)
	if err != nil {
		return 0, err
	}
	a.owned = class != peer.AlwaysOn
	if a.owned && a.o.Owner.Signals == nil && !a.o.OwnerAway {
		a.log.Warn("refusing work: nothing here can see the owner", "class", class)
		a.refusal = fmt.Sprintf("class %s: nothing here can see the owner", class)
		return 0, nil
	}
	return a.o.Cores, nil
}

// heedOwner makes what decides how much may run. Until it has, nothing runs.
func (a *Agent) heedOwner(cores int) error {
	if cores == 0 || a.o.OwnerAway {
		return nil
	}
	var err error
	if a.folder, err = os.OpenRoot(a.o.State); err != nil {
		return fmt.Errorf("open the state folder: %w", err)
	}
	o := harvest.Options{
		State: a.folder, Cores: cores, Apply: a.apply, Offered: a.tell, OwnCPU: a.o.Owner.Used,
		Wrote: a.node.Throttle.Written, Log: a.log.With("component", "harvest"),
	}
	if a.o.Metrics != nil {
		o.SaveEvery = exportEvery
	}
	if a.owned {
		o.Signals, o.Policy = a.o.Owner.Signals, a.o.Owner.Policy
		if o.Policy == nil {
			o.Policy = policy.Open(policy.Paths{})
		}
	}
	if a.harvest, err = harvest.New(o); err != nil {
		return err
	}
	return a.worker.SetOffer(worker.Offer{})
}

// Harvest returns what decides how much may run; nil: nothing does, see Options.OwnerAway.
func (a *Agent) Harvest() *harvest.Harvest { return a.harvest }

// apply makes a decision true, and returns when what has to stop has stopped.
func (a *Agent) apply(d harvest.Decision) error {
	a.node.Throttle.Set(d.Network, d.Disk)
	a.node.Blobs.SetQuota(quotaOf(a.o.Quota, d.Kept))
	o := worker.Offer{Slots: d.Cores, GiveBack: d.GiveBack, Takes: a.takes}
	if d.Memory != math.MaxInt64 {
		o.Memory = uint64(max(1, d.Memory))
	}
	return a.worker.SetOffer(o)
}

// quotaOf returns the quota of blobs from what the agent was given, 0 for no limit, and what the owner leaves. With nothing
// left it is a byte: no blob fits.
func quotaOf(given, kept int64) int64 {
	switch {
	case kept >= policy.Unlimited:
		return given
	case given > 0:
		kept = min(kept, given)
	}
	return max(1, kept)
}

// takes says why the owner's policy refuses a job; nil: it does not.
func (a *Agent) takes(m *manifest.Manifest) error {
	if !a.owned || a.o.Owner.Policy == nil {
		return nil
	}
	p, err := a.o.Owner.Policy.Policy()
	if p == nil {
		return errors.Join(errors.New("the owner's policy was never good"), err)
	}
	return p.Takes(m)
}

// tell lets others know how many cores they may count on.
func (a *Agent) tell(cores int) {
	if err := a.node.Offer(cores); err != nil {
		a.log.Warn("cannot tell others how many cores this agent offers", "cores", cores, "err", err)
	}
}

// atFirst is how many cores are offered before anything was decided.
func (a *Agent) atFirst(cores int) int {
	if a.owned && !a.o.OwnerAway {
		return 0
	}
	return cores
}

// offersEvery is how often others hear of other cores at most.
func (a *Agent) offersEvery() time.Duration {
	if a.owned {
		return harvest.OfferEvery
	}
	return 0
}

// working hears whether units run.
func (a *Agent) working(yes bool) {
	if a.o.Owner.Working != nil {
		a.o.Owner.Working(yes)
	}
	if a.harvest != nil {
		a.harvest.Working(yes)
	}
}

// ended hears of a unit that ended here.
func (a *Agent) ended(e worker.Ended) {
	if a.harvest != nil {
		a.harvest.Ended(e.Times.CPU, e.Failure.Failed())
	}
	if a.o.Hooks.Ran != nil {
		a.o.Hooks.Ran(e)
	}
}
