package gridtest_test

import (
	"fmt"
	"slices"
	"time"

	"idlegrid/agent/peer/records"
	"idlegrid/coordinator/internal/gridtest"
	"idlegrid/jobs"
	"idlegrid/jobs/ledger"
	"idlegrid/jobs/record"
)

const (
	// sampleEvery is how often the grid is looked at while faults strike.
	sampleEvery = 5 * time.Minute
	// poolTime is how long it takes at most until everyone sees everyone.
	poolTime = 3 * time.Minute
	// workTime bounds how long what is left takes once everyone is back.
	workTime = 8 * time.Hour
	// idleFor is how long nothing may run then while units are open.
	idleFor = 5 * time.Minute
)

// acked is the reports that enough stewards had on disk when somebody looked.
type acked map[jobs.Digest]bool

// onceThere is what machines had on disk when their power was cut.
type onceThere map[*gridtest.Machine][]jobs.Digest

// after looks that a machine which has just started has what it had (I23, P12).
func (o onceThere) after(c *chaos, m *gridtest.Machine) {
	has := map[jobs.Digest]bool{}
	for _, id := range c.kept(m) {
		has[id] = true
	}
	for _, id := range o[m] {
		if !has[id] {
			c.t.Errorf("I23: %s: %s restarted without record %s, which it had", c.clock(), m.IP, id)
		}
	}
	delete(o, m)
}

// kept returns all manifests and reports that a machine has, of jobs that do not expire during the simulation.
func (c *chaos) kept(m *gridtest.Machine) (ids []jobs.Digest) {
	s := m.Node().Store
	for _, w := range c.jobs {
		if w.Manifest.Expires.Before(c.begun.Add(48 * time.Hour)) {
			continue
		}
		if c.knows(m, w) {
			ids = append(ids, jobs.Digest(w.ID))
		}
		ids = append(ids, s.IDs(records.Scope{Shard: jobs.ShardID{Job: w.ID}, Reports: true})...)
	}
	return ids
}

// sample looks at the grid while faults strike.
func (c *chaos) sample() {
	for _, w := range c.jobs {
		if w.over() {
			continue
		}
		for id := range w.Acknowledged() {
			w.acked[id] = true
		}
		for _, m := range c.On() {
			if !c.knows(m, w) {
				continue
			}
			if n := w.Counts(m); n.Conflict > 0 || n.Failed > 0 || n.Differs > 0 && !w.lied {
				c.t.Errorf("I3: %s: %s counts %+v", c.clock(), m.IP, n)
			}
		}
	}
}

// forgive takes out of what must not be lost what nobody else has among those that are on, since these are about to lose
// their disks.
func (c *chaos) forgive(gone ...*gridtest.Machine) {
	others := map[jobs.Digest]bool{}
	for _, m := range c.On() {
		if slices.Contains(gone, m) {
			continue
		}
		for _, id := range c.kept(m) {
			others[id] = true
		}
	}
	for _, w := range c.jobs {
		for id := range w.acked {
			if !others[id] {
				delete(w.acked, id)
			}
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for k := range c.knew {
		if slices.Contains(gone, k.Machine) {
			delete(c.knew, k)
		}
	}
}

// watch looks who knows that a job was cancelled or sealed, until all do who are on.
func (c *chaos) watch(w *work) {
	all := true
	for _, m := range c.On() {
		cancelled, sealed := m.Node().Store.Over(w.ID)
		if !cancelled && !sealed {
			all = false
			continue
		}
		c.mu.Lock()
		c.knew[knowing{m, w}] = true
		c.mu.Unlock()
	}
	if all && len(c.On()) > 0 {
		w.all = time.Now()
		return
	}
	c.in(10*time.Second, func() { c.watch(w) })
}

// check looks that nothing is lost, once all faults are over and everyone is back. What it does not look at: I9 takes
// three days more (package records), I11 and I13 need revocations and quorums, I14 floods (TestP11…), I17 more
// than a bubble's blobs (package node), I19, I20, I24 and I25 have tests of their own.
func (c *chaos) check() {
	healed := time.Now()
	for name := range c.pending {
		c.t.Errorf("fault %s found nobody whom it mattered to", name)
	}
	c.poolWithin(poolTime)
	c.t.Logf("the pool is whole %s after the last fault", time.Since(healed))
	// I6, P4: all that anybody has its stewards have, and all peers know the same of jobs. I18: so does a coordinator
	// that was wiped.
	c.equalWithin(converge - time.Since(healed))
	c.t.Logf("ledgers are equal %s after the last fault", time.Since(healed))
	c.finishWork()
	for _, w := range c.jobs {
		if w.lied && !w.over() {
			c.settled(w)
		}
	}
	c.equalWithin(converge)
	c.copied()
	for _, w := range c.jobs {
		c.checkJob(w)
	}
	c.checkRuns()
	c.checkResumed()
	c.checkTotals()
	c.released()
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, what := range c.wrong {
		c.t.Error(what)
	}
}

// finishWork waits until nothing is open. Units that nobody runs while all slots are free are lost.
func (c *chaos) finishWork() {
	begun, ran := time.Now(), time.Now()
	for {
		i := slices.IndexFunc(c.jobs, func(w *work) bool { return !w.over() && !w.Done() })
		if i < 0 {
			c.t.Logf("all work is done %s later", time.Since(begun))
			return
		}
		if c.Running() > 0 {
			ran = time.Now()
		}
		if time.Since(begun) > workTime || time.Since(ran) > idleFor {
			c.t.Fatalf("I6: %s has open units %s after the last fault, and nothing has run for %s", c.jobs[i].Manifest.Name, time.Since(begun), time.Since(ran))
		}
		time.Sleep(5 * time.Second)
	}
}

// settled has the submitter of a job settle what an agent lied about: before, all stewards show the same.
func (c *chaos) settled(w *work) {
	c.sameStatus(w)
	for _, m := range c.On() {
		if n := w.Counts(m); c.knows(m, w) && slices.Contains(w.Stewards(jobs.ShardID{Job: w.ID}), m) && n.Differs != w.units {
			c.t.Errorf("%s does not see that outcomes differ: %+v", m.IP, n)
		}
	}
	c.rule(w)
}

// poolWithin waits until everyone sees all agents as eligible.
func (c *chaos) poolWithin(most time.Duration) {
	for begun := time.Now(); ; time.Sleep(time.Second) {
		blind := c.blind()
		if blind == "" {
			return
		}
		if time.Since(begun) > most {
			c.t.Fatalf("the pool is not whole: %s", blind)
		}
	}
}

// blind says who does not see an agent as eligible; nobody is empty.
func (c *chaos) blind() string {
	for _, m := range append(c.On(), c.Coordinator) {
		if n := m.Eligible(); n > len(c.Agents) {
			return fmt.Sprintf("%s sees %d agents", m.IP, n)
		}
		for _, o := range c.Agents {
			seen, ok := m.Node().Member(o.Node().ID())
			if !ok || !seen.Eligible() {
				self, _ := o.Node().Member(o.Node().ID())
				return fmt.Sprintf("%s sees %s, a member %v, as %+v; it sees itself as %+v and drains because %q", m.IP, o.IP, ok, seen, self, o.Node().Draining())
			}
		}
	}
	return ""
}

// equalWithin waits until the ledgers are equal.
func (c *chaos) equalWithin(most time.Duration) {
	for begun := time.Now(); ; time.Sleep(time.Second) {
		differs := c.differs()
		if differs == "" {
			return
		}
		if time.Since(begun) > most {
			c.t.Fatalf("I6: ledgers are not equal: %s", differs)
		}
	}
}

// differs says where the stewards of a live job lack reports that anybody has of it, or peers have other manifests,
// rulings, cancels and seals; nowhere is empty.
func (c *chaos) differs() string {
	all := append(c.On(), c.Coordinator)
	for _, m := range all[1:] {
		if what := c.lacking(m, all[0], records.Scope{}) + c.lacking(all[0], m, records.Scope{}); what != "" {
			return what
		}
	}
	for _, w := range c.jobs {
		if w.over() {
			continue
		}
		if what := c.unoffered(w); what != "" {
			return what
		}
	}
	return ""
}

// unoffered says what a steward of a job lacks of the reports that anybody has who is on; nothing is empty.
func (c *chaos) unoffered(w *work) string {
	scope := records.Scope{Shard: jobs.ShardID{Job: w.ID}, Reports: true}
	stewards := w.Stewards(scope.Shard)
	if len(stewards) == 0 {
		return w.Manifest.Name + " has no stewards"
	}
	for _, s := range stewards {
		for _, m := range c.On() {
			if what := c.lacking(s, m, scope); what != "" {
				return w.Manifest.Name + ": " + what
			}
		}
	}
	return ""
}

// lacking says what a machine lacks of a scope that another has. A job that has expired goes everywhere, and not at
// the same moment.
func (c *chaos) lacking(m, other *gridtest.Machine, scope records.Scope) string {
	if m.Node().Store.Digest(scope) == other.Node().Store.Digest(scope) {
		return ""
	}
	has := m.Node().Store.IDs(scope)
	for _, id := range other.Node().Store.IDs(scope) {
		if _, ok := slices.BinarySearchFunc(has, id, jobs.Digest.Compare); ok {
			continue
		}
		o, err := other.Node().Store.Get(id)
		job, _ := record.JobOf(o.Envelope.Payload) // that of a manifest is its ID
		if slices.ContainsFunc(c.jobs, func(w *work) bool {
			return time.Now().After(w.Manifest.Expires) && (w.ID == job || jobs.Digest(w.ID) == id)
		}) {
			continue
		}
		return fmt.Sprintf("%s lacks a record that %s has: %s by %s, %v; ", m.IP, other.IP, o.Envelope.Type, o.Envelope.Signatures[0].Signer().Short(), err)
	}
	return ""
}

// sameStatus looks that every steward shows the same of each unit, whatever it heard first (I1, I2, P2).
func (c *chaos) sameStatus(w *work) {
	shard := jobs.ShardID{Job: w.ID}
	var first []ledger.Unit
	for _, m := range w.Stewards(shard) {
		var units []ledger.Unit
		err := m.Node().Store.WithLedger(shard, func(l *ledger.Ledger) {
			for u := range w.units {
				units = append(units, l.Unit(u, time.Now()))
			}
		})
		if err != nil {
			c.t.Error(err)
		}
		if first == nil {
			first = units
		}
		for u := range units {
			if units[u].Status != first[u].Status || units[u].Outcome != first[u].Outcome {
				c.t.Errorf("I2: two stewards show unit %d of %s as %s and %s", u, w.Manifest.Name, first[u].Status, units[u].Status)
			}
		}
	}
}

func (c *chaos) checkJob(w *work) {
	if w.over() {
		return
	}
	c.sameStatus(w)
	for _, m := range w.Stewards(jobs.ShardID{Job: w.ID}) { // I3, I6, I12
		if n := w.Counts(m); n.Accepted != w.units || n.Open+n.Failed+n.Conflict+n.Dead+n.Sealed > 0 || n.Differs > 0 && !w.lied {
			c.t.Errorf("I6: %s counts %+v of %s with %d units", m.IP, n, w.Manifest.Name, w.units)
		}
	}
	if n := w.Missing(w.acked); n > 0 || len(w.acked) == 0 {
		c.t.Errorf("I5: %d of %d acknowledged reports of %s are missing", n, len(w.acked), w.Manifest.Name)
	}
	w.Complete() // I3, I15, I16: the outcomes of an undisturbed run, by packs that somebody has
}

// checkRuns looks at what ran: nothing of a job that was over (I8, I10), and no more often than faults explain (I7).
func (c *chaos) checkRuns() {
	needed, ran, twice := 0, 0, 0
	for _, w := range c.jobs {
		for unit := range w.units {
			ended := 0
			for _, r := range w.Runs(unit) {
				if !r.Ended.IsZero() {
					ended++
				}
				if r.Started.After(w.Manifest.Expires) {
					c.t.Errorf("I8: %s started unit %d of %s %s after it expired", r.On.IP, unit, w.Manifest.Name, r.Started.Sub(w.Manifest.Expires))
				}
				if !w.all.IsZero() && r.Started.After(w.all.Add(time.Minute)) {
					c.t.Errorf("I10: %s started unit %d of %s %s after all knew of its end", r.On.IP, unit, w.Manifest.Name, r.Started.Sub(w.all))
				}
			}
			ran += ended
			needed += min(ended, 1)
			twice += max(ended-1, 0)
		}
		if !w.ended.IsZero() && w.all.IsZero() {
			c.t.Errorf("not all know that %s has ended", w.Manifest.Name)
		}
	}
	again := 0
	for _, hit := range c.hit {
		if slices.ContainsFunc(c.runsOf(hit.UnitRun), func(r gridtest.UnitRun) bool { return r.Started.After(hit.Started) }) {
			again++
		}
	}
	c.t.Logf("executed %d, needed %d: %.3f; %d runs were cut off, %d of them were done again", ran, needed, float64(ran)/float64(needed), len(c.hit), again)
	if again == 0 {
		c.t.Errorf("%d runs were cut off, and none was done again", len(c.hit))
	}
	if most := needed/2 + len(c.hit); twice > most {
		c.t.Errorf("I7: %d units ran more often than once, expected at most %d", twice, most)
	}
}

func (c *chaos) runsOf(r gridtest.UnitRun) []gridtest.UnitRun {
	for _, w := range c.jobs {
		if w.Manifest.Program.Digest == r.Program {
			return w.Runs(r.Number)
		}
	}
	return nil
}
