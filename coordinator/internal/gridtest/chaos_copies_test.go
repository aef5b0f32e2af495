package gridtest_test

import (
	"bytes"
	"fmt"
	"maps"
	"slices"
	"time"

	"idlegrid/agent/peer/blobs"
	"idlegrid/agent/peer/records"
	"idlegrid/coordinator/internal/gridtest"
	"idlegrid/jobs"
)

const (
	// enough is how many copies are online of whatever is needed, and repairTime how soon they are again (I16).
	enough     = 2
	repairTime = 10 * time.Minute
	// toldWithin is how old the newest checkpoint may be before those hear of it who lend the unit next.
	toldWithin = 30 * time.Second
	// releaseTime is how long checkpoints of units that are done may stay.
	releaseTime = 15 * time.Minute
)

// hit is a run that a power cut ended.
type hit struct {
	gridtest.UnitRun
	at    time.Time
	alone bool // no other machine's power was cut at that moment
	held  bool // another machine had a checkpoint of the unit
}

// spell is when a fault lasted; one whose end has not come lasts.
type spell struct{ from, to time.Time }

// calm reports whether from a while before a run was cut off until the unit ran again nothing else went wrong.
func (c *chaos) calm(h hit, next time.Time) bool {
	from := h.at.Add(-c.interval() - toldWithin)
	return h.alone && !slices.ContainsFunc(c.spells, func(s *spell) bool {
		return !s.from.Equal(h.at) && s.from.Before(next) && (s.to.IsZero() || s.to.After(from))
	})
}

// interval is how often units are saved.
func (c *chaos) interval() time.Duration {
	if c.length <= time.Hour {
		return 30 * time.Second
	}
	return 5 * time.Minute
}

// heldElsewhere reports whether others than those who are about to go have a checkpoint of a unit.
func (c *chaos) heldElsewhere(r gridtest.UnitRun, gone []*gridtest.Machine) bool {
	c.mu.Lock()
	job := c.byProgram[r.Program].ID
	c.mu.Unlock()
	return slices.ContainsFunc(c.On(), func(m *gridtest.Machine) bool {
		return !slices.Contains(gone, m) && slices.ContainsFunc(m.Node().Blobs.List(), func(e blobs.Kept) bool {
			return slices.ContainsFunc(e.Claims, func(h blobs.Claim) bool {
				return h.Kind == blobs.Checkpoint && h.Job == job && h.Unit == r.Number
			})
		})
	})
}

// checkResumed looks that runs went on from checkpoints: none from one that nobody made, and after a kill in a calm moment
// at most an interval before where it was.
func (c *chaos) checkResumed() {
	for _, w := range c.jobs {
		for unit := range w.units {
			var reached time.Duration
			for _, r := range w.Runs(unit) {
				if r.From > reached {
					c.t.Errorf("unit %d of %s goes on from %s on %s, and nobody had come further than %s", unit, w.Manifest.Name, r.From, r.On.IP, reached)
				}
				reached = max(reached, r.Reached)
			}
		}
	}
	calm, resumed, worst := 0, 0, time.Duration(0)
	for _, h := range c.hit {
		runs := c.runsOf(h.UnitRun)
		was := slices.IndexFunc(runs, func(r gridtest.UnitRun) bool { return r.On == h.On && r.Started.Equal(h.Started) })
		next := slices.IndexFunc(runs, func(r gridtest.UnitRun) bool { return r.Started.After(h.at) })
		if next < 0 || !h.held || !c.calm(h, runs[next].Started) {
			continue
		}
		calm++
		if runs[next].From > 0 {
			resumed++
		}
		lost := runs[was].Reached - runs[next].From
		worst = max(worst, lost)
		if lost > c.interval()+toldWithin {
			c.t.Errorf("unit %d was killed on %s at %s of its work, with a checkpoint elsewhere, and goes on from %s on %s",
				h.Number, h.On.IP, runs[was].Reached, runs[next].From, runs[next].On.IP)
		}
	}
	c.t.Logf("%d of %d runs that were cut off in a calm moment went on from a checkpoint; %s of work were lost at most", resumed, calm, worst)
}

// released waits until nobody would tell a steward of a checkpoint: no unit is open. Parts stay for 120 h with holders who
// were off when they were let go of.
func (c *chaos) released() {
	for begun := time.Now(); ; time.Sleep(5 * time.Second) {
		n := 0
		for _, m := range c.On() {
			notes, err := m.Node().Store.Notes()
			if err != nil {
				c.t.Fatal(err)
			}
			n += len(notes)
		}
		if n == 0 {
			c.t.Logf("no checkpoint is noted %s after the work is done; %d parts are kept", time.Since(begun), checkpoints(c.t, c.Grid))
			return
		}
		if time.Since(begun) > releaseTime {
			c.t.Errorf("%d checkpoints are noted, and no unit is open", n)
			return
		}
	}
}

// needed returns what live jobs need, and which: their programs, and the packs of all reports that anybody has who is on.
func (c *chaos) needed() map[jobs.Digest]*work {
	out := map[jobs.Digest]*work{}
	for _, w := range c.jobs {
		if w.over() {
			continue
		}
		for _, b := range w.Manifest.Blobs() {
			out[b.Digest] = w
		}
		seen := map[jobs.Digest]bool{}
		for _, m := range c.On() {
			for _, id := range m.Node().Store.IDs(records.Scope{Shard: jobs.ShardID{Job: w.ID}, Reports: true}) {
				if seen[id] {
					continue
				}
				seen[id] = true
				report, _, _, err := m.Node().Store.Holders(id)
				if err != nil {
					c.t.Error(err)
					continue
				}
				if !report.Pack.IsZero() { // else it says what was spent and nothing more
					out[report.Pack.Digest] = w
				}
			}
		}
	}
	return out
}

// having returns the agents that are on and have a blob.
func (c *chaos) having(w *work, d jobs.Digest) []*gridtest.Machine {
	return slices.DeleteFunc(c.On(), func(m *gridtest.Machine) bool { return !m.Node().Blobs.Holds(w.ID, d) })
}

// copied waits until there are enough copies of all that is needed (I16), with everyone there.
func (c *chaos) copied() {
	for begun := time.Now(); ; time.Sleep(5 * time.Second) {
		few, needed := "", c.needed()
		for d, w := range needed {
			if n := len(c.having(w, d)); n < enough {
				few = fmt.Sprintf("%s of %s has %d copies", d, w.Manifest.Name, n)
			}
		}
		if few == "" {
			c.t.Logf("%d blobs have enough copies %s after the ledgers are equal", len(needed), time.Since(begun))
			return
		}
		if time.Since(begun) > repairTime {
			c.t.Errorf("I16: %s", few)
			return
		}
	}
}

// lostCopies has all disks go but one on which a blob is, where nothing else that is needed goes with them. Soon there
// are enough copies again (I16).
func (c *chaos) lostCopies() (end func(), lasts time.Duration, ok bool) {
	if c.cut || !c.Coordinator.On() {
		return nil, 0, false
	}
	w, d, stays, gone := c.rare()
	if w == nil {
		return nil, 0, false
	}
	c.cut = true // no ways are, and whoever has it stays, or it would have to wait for that
	c.struck[stays] = true
	c.forgive(gone...)
	back := c.take(gone...)
	for _, m := range gone {
		m.Lose()
		delete(c.once, m)
	}
	begun := time.Now()
	if n := len(c.having(w, d)); n != 1 {
		c.t.Errorf("%s: a blob has %d copies, expected one", c.clock(), n)
	}
	copied := func() bool { return w.over() || len(c.having(w, d)) >= enough }
	return c.later("lost copies", func() bool { return copied() || time.Since(begun) > 2*repairTime }, func() {
		// A steward that goes meanwhile has the next one begin anew.
		if !copied() && time.Since(begun) > 2*repairTime {
			c.t.Errorf("I16: %s: %s of %s has one copy %s after the others went", c.clock(), d, w.Manifest.Name, time.Since(begun))
		}
		c.cut = false
		delete(c.struck, stays)
		c.bring(stays)
		back()
	}), repairTime / 2, true
}

// rare returns a blob that few have, one of them and the others, none of whom is the last to have anything else.
func (c *chaos) rare() (w *work, d jobs.Digest, stays *gridtest.Machine, gone []*gridtest.Machine) {
	free, needed := c.free(), c.needed()
	have := map[jobs.Digest][]*gridtest.Machine{}
	for d, w := range needed {
		have[d] = c.having(w, d)
	}
	for _, m := range c.On() { // nor to know a report: it may be at its three stewards only
		for _, w := range c.jobs {
			if !w.over() {
				for _, id := range m.Node().Store.IDs(records.Scope{Shard: jobs.ShardID{Job: w.ID}, Reports: true}) {
					have[id] = append(have[id], m)
				}
			}
		}
	}
	for _, d := range slices.SortedFunc(maps.Keys(needed), func(a, b jobs.Digest) int { return bytes.Compare(a[:], b[:]) }) {
		few := have[d]
		if len(few) < enough || len(few) > 4 || slices.ContainsFunc(few, func(m *gridtest.Machine) bool { return !slices.Contains(free, m) }) {
			continue
		}
		for i, stays := range few {
			gone := slices.Delete(slices.Clone(few), i, i+1)
			if !slices.ContainsFunc(slices.Collect(maps.Values(have)), func(on []*gridtest.Machine) bool {
				return !slices.ContainsFunc(on, func(m *gridtest.Machine) bool { return !slices.Contains(gone, m) })
			}) {
				return needed[d], d, stays, gone
			}
		}
	}
	return nil, d, nil, nil
}

// checkTotals looks that a coordinator counts what the records say (I18).
func (c *chaos) checkTotals() {
	time.Sleep(30 * time.Second) // it asks every ten seconds about what was not done
	said := map[string]uint64{}
	for _, j := range statusOf(c.t, c.Coordinator).GetCoordinator().GetJobs() {
		said[string(j.GetJob())] = j.GetAccepted()
	}
	for _, w := range c.jobs {
		if n := said[string(w.ID[:])]; !w.over() && n != w.units {
			c.t.Errorf("I18: the coordinator says that %d of %d units of %s are accepted", n, w.units, w.Manifest.Name)
		}
	}
	for _, m := range c.On() {
		held := int64(0)
		for _, e := range m.Node().Blobs.List() {
			held += e.Blob.Size
		}
		if u := m.Node().Blobs.Usage(); u.Bytes != held {
			c.t.Errorf("%s counts %d bytes of blobs, and has %d", m.IP, u.Bytes, held)
		}
	}
}
