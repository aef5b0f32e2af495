package record

import (
	"time"

	"idlegrid/jobs"
	gridv1 "idlegrid/proto/grid/v1"
)

// Lineage is the checkpoints from which a run of a unit went on: its own, that of the run which made that one, and so on,
// up to MaxLineage. Empty: it began the unit.
type Lineage []Origin

// Origin is a checkpoint from which a run went on.
type Origin struct {
	From   jobs.AgentID  // who made it
	Before time.Duration // CPU time of the unit there, in whole milliseconds
}

// Before returns the CPU time of the unit at the begin of the run.
func (l Lineage) Before() time.Duration {
	if len(l) == 0 {
		return 0
	}
	return l[0].Before
}

// After returns the lineage of a run that goes on from a checkpoint of a run of this lineage. Of one at which the unit has
// taken no time it is as if it began the unit.
func (l Lineage) After(from jobs.AgentID, cpu time.Duration) Lineage {
	cpu = cpu.Truncate(time.Millisecond)
	if cpu <= l.Before() {
		return l // it went on, and took nothing before it made that checkpoint
	}
	l = append(Lineage{{From: from, Before: cpu}}, l...)
	return l[:min(len(l), MaxLineage)]
}

func (l Lineage) check() error {
	if len(l) > MaxLineage {
		return jobs.Errorf(jobs.Invalid, "lineage of %d checkpoints, expected at most %d", len(l), MaxLineage)
	}
	for i, o := range l {
		const most = MaxUnitMicros * time.Microsecond
		if o.From.IsZero() || o.Before <= 0 || o.Before > most || i > 0 && o.Before >= l[i-1].Before {
			return jobs.Errorf(jobs.Invalid, "lineage with a checkpoint of agent %s at %s, expected each at less CPU time than the one before, up to %s",
				o.From.Short(), o.Before, most)
		}
	}
	return nil
}

func (l Lineage) proto() []*gridv1.Origin {
	var out []*gridv1.Origin
	for _, o := range l {
		out = append(out, &gridv1.Origin{From: o.From[:], BeforeMs: uint32(o.Before.Milliseconds())})
	}
	return out
}

func lineageFromProto(list []*gridv1.Origin) (Lineage, error) {
	if len(list) > MaxLineage { // before anything is allocated for them
		return nil, jobs.Errorf(jobs.Invalid, "lineage of %d checkpoints, expected at most %d", len(list), MaxLineage)
	}
	var l Lineage
	for _, p := range list {
		from, err := jobs.KeyIDFromBytes(p.GetFrom())
		if err != nil {
			return nil, err
		}
		l = append(l, Origin{From: from, Before: time.Duration(p.GetBeforeMs()) * time.Millisecond})
	}
	return l, nil
}
