package gridtest_test

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"idlegrid/agent/peer"
	"idlegrid/agent/peer/blobs"
	"idlegrid/agent/peer/records"
	"idlegrid/agent/peer/simnet"
	"idlegrid/coordinator/internal/gridtest"
	"idlegrid/jobs"
	"idlegrid/jobs/record"
)

// fault is something that goes wrong. strike chooses whom it matters to now and does it; ok is false where that is
// nobody, and then it is tried again a little later. What it returns ends it, so long after, and fails the test
// unless it took effect.
type fault struct {
	name   string
	strike func(*chaos) (end func(), lasts time.Duration, ok bool)
}

// faults are all there are. A day has each of them, in an order that the seed draws, and more kills.
func faults() []fault {
	return []fault{
		{"kill", (*chaos).kill},
		{"kill of a steward", (*chaos).killSteward},
		{"power off", (*chaos).powerOff},
		{"stewards off", (*chaos).stewardsOff},
		parting("partition", (*gridtest.Grid).Partition),
		parting("one-way partition", (*gridtest.Grid).CutWays),
		weather("loss", func(n *simnet.Network, share float64) { n.SetLoss(0.3 * share) }, func(n simnet.Counts) int { return n.Lost }),
		weather("latency", func(n *simnet.Network, share float64) {
			n.SetJitter(time.Duration(share * float64(500*time.Millisecond)))
		}, func(n simnet.Counts) int { return n.Late }),
		weather("duplicates", func(n *simnet.Network, share float64) { n.SetDuplicates(share / 2) }, func(n simnet.Counts) int { return n.Twice }),
		{"full disk", (*chaos).fullDisk},
		{"flipped bit", (*chaos).flippedBit},
		{"lost state", (*chaos).lostState},
		{"lost copies", (*chaos).lostCopies},
		{"wrong clock", (*chaos).wrongClock},
		{"wiped coordinator", (*chaos).wipedCoordinator},
		{"lying steward", (*chaos).lyingSteward},
		{"lying agent", (*chaos).lyingAgent},
		{"cancel", (*chaos).cancel},
		{"expiry", (*chaos).expiry},
		{"seal", (*chaos).seal},
	}
}

// strikeAgain spaces the times that a fault looks for somebody whom it matters to.
const strikeAgain = 30 * time.Second

// drawFaults plans the faults of a simulation: all of them in a day, some in an hour, a kill among them, and the one that
// CHAOS_FAULT names.
func (c *chaos) drawFaults() {
	list := faults()
	c.Rand.Shuffle(len(list), func(i, j int) { list[i], list[j] = list[j], list[i] })
	from, to := 2*time.Hour, 20*time.Hour
	if named := os.Getenv("CHAOS_FAULT"); named != "" {
		i := slices.IndexFunc(list, func(f fault) bool { return f.name == named })
		if i < 0 {
			c.t.Fatalf("CHAOS_FAULT is %q, which is none", named)
		}
		list[0], list[i] = list[i], list[0]
	}
	if c.length <= time.Hour {
		list = list[:5]
		from, to = 6*time.Minute, 42*time.Minute
	}
	for range 1 + int(c.length/(8*time.Hour)) {
		list = slices.Insert(list, c.Rand.IntN(len(list)+1), fault{"kill", (*chaos).kill})
	}
	gap := (to - from) / time.Duration(len(list))
	for i, f := range list {
		c.pending[fmt.Sprint(i, " ", f.name)] = true
		c.at(from+time.Duration(i)*gap+c.between(0, gap/2), func() { c.strike(fmt.Sprint(i, " ", f.name), f) })
	}
}

// strike has a fault strike, or tries it again later, until there would be too little time left for it to take effect.
func (c *chaos) strike(name string, f fault) {
	now := time.Now()
	end, lasts, ok := f.strike(c)
	switch {
	case ok:
		lasted := &spell{from: now}
		c.spells = append(c.spells, lasted)
		c.t.Logf("%s %s for %s", c.clock(), name, lasts.Round(time.Second))
		delete(c.pending, name)
		c.active[name] = func() {
			end()
			lasted.to = time.Now()
		}
		c.in(lasts, func() { c.finish(name) })
	case now.Before(c.begun.Add(c.length - c.length/20)):
		c.in(strikeAgain, func() { c.strike(name, f) })
	}
}

// finish ends a fault that lasts.
func (c *chaos) finish(name string) {
	if end := c.active[name]; end != nil {
		delete(c.active, name)
		end()
	}
}

// clock is the time of day.
func (c *chaos) clock() string { return time.Now().Add(7 * time.Hour).Format("15:04:05") }

func sortedKeys(m map[string]func()) []string { return slices.Sorted(maps.Keys(m)) }

// spell draws how long something lasts: minutes.
func (c *chaos) spell() time.Duration {
	if c.length <= time.Hour {
		return c.between(2*time.Minute, 5*time.Minute)
	}
	return c.between(5*time.Minute, 40*time.Minute)
}

// view returns a machine whose view of the pool is asked.
func (c *chaos) view() *gridtest.Machine {
	if c.Coordinator.On() {
		return c.Coordinator
	}
	for _, m := range c.free() {
		return m
	}
	return nil
}

// target returns a job that runs and its stewards, all of which are on and in no fault's hand.
func (c *chaos) target() (w *work, stewards []*gridtest.Machine, ok bool) {
	view := c.view()
	if w, ok = pick(c.Rand, c.running()); !ok || view == nil {
		return nil, nil, false
	}
	stewards = view.Stewards(w.Job)
	return w, stewards, len(stewards) > 0 && !slices.ContainsFunc(stewards, func(m *gridtest.Machine) bool { return c.struck[m] })
}

func (c *chaos) kill() (end func(), lasts time.Duration, ok bool) {
	m, ok := pick(c.Rand, c.busy())
	if !ok {
		return nil, 0, false
	}
	return c.strikeDown(m), c.between(20*time.Second, 5*time.Minute), true
}

func (c *chaos) killSteward() (end func(), lasts time.Duration, ok bool) {
	_, stewards, ok := c.target()
	if !ok || len(c.InHand(stewards[0])) == 0 {
		return nil, 0, false
	}
	return c.strikeDown(stewards[0]), c.between(20*time.Second, 5*time.Minute), true
}

// powerOff takes all stewards of a job that runs, and a share of all others from none to everyone.
func (c *chaos) powerOff() (end func(), lasts time.Duration, ok bool) {
	_, victims, ok := c.target()
	share := c.Rand.Float64() * 1.2
	for _, m := range c.free() {
		if !slices.Contains(victims, m) && c.Rand.Float64() < share {
			victims = append(victims, m)
		}
	}
	if !ok || len(c.InHand(victims...)) == 0 {
		return nil, 0, false
	}
	return c.strikeDown(victims...), c.spell(), true
}

// stewardsOff takes all stewards of a job that runs, and nobody else, until those who are its stewards then have what
// anybody has of it: authors offer again what had been acknowledged (P1, I5).
func (c *chaos) stewardsOff() (end func(), lasts time.Duration, ok bool) {
	w, stewards, ok := c.target()
	if !ok || c.cut || len(c.InHand(stewards...)) == 0 {
		return nil, 0, false
	}
	if !c.mustOffer(w, stewards) {
		return nil, 0, false
	}
	c.cut = true // no ways are, or those on the other side could not hear of it
	back := c.strikeDown(stewards...)
	begun := time.Now()
	heard := func() bool { return w.over() || c.unoffered(w) == "" }
	return c.later("stewards that are off", func() bool { return heard() || time.Since(begun) > poolTime+converge }, func() {
		if !heard() {
			c.t.Errorf("I5: %s: with all its first stewards off, %s", c.clock(), c.unoffered(w))
		}
		c.cut = false
		back()
	}), 3 * time.Minute, true
}

// mustOffer reports whether the stewards of a job that follow these lack something that another agent has.
func (c *chaos) mustOffer(w *work, stewards []*gridtest.Machine) bool {
	scope := records.Scope{Shard: jobs.ShardID{Job: w.ID}, Reports: true}
	left := slices.DeleteFunc(c.view().Node().Members(), func(m peer.Member) bool { return slices.Contains(stewards, c.Machine(m)) })
	var next []*gridtest.Machine
	known := map[jobs.Digest]bool{}
	for _, m := range peer.Stewards(scope.Shard, left) {
		next = append(next, c.Machine(m))
		if o := c.Machine(m); o != nil && o.On() {
			for _, id := range o.Node().Store.IDs(scope) {
				known[id] = true
			}
		}
	}
	return slices.ContainsFunc(c.free(), func(m *gridtest.Machine) bool {
		return !slices.Contains(stewards, m) && !slices.Contains(next, m) &&
			slices.ContainsFunc(m.Node().Store.IDs(scope), func(id jobs.Digest) bool { return !known[id] })
	})
}

// strikeDown cuts the power of machines that run units, which shall be run again.
func (c *chaos) strikeDown(victims ...*gridtest.Machine) (end func()) {
	before := len(c.hit)
	back := c.take(victims...)
	if len(c.hit) == before {
		c.t.Errorf("%s: a cut of %d machines hit nothing that ran", c.clock(), len(victims))
	}
	return back
}

// take cuts the power of machines, and returns what gives it back.
func (c *chaos) take(victims ...*gridtest.Machine) (back func()) {
	c.down(victims...)
	for _, m := range victims {
		c.struck[m] = true
	}
	return func() { c.up(victims...) }
}

// sides draws two parts of the grid, the first with the first steward of a job that runs, the second with an agent
// that runs its units.
func (c *chaos) sides() (as, bs []*gridtest.Machine, ok bool) {
	w, stewards, ok := c.target()
	if !ok || c.cut {
		return nil, nil, false
	}
	var lessee *gridtest.Machine
	for _, m := range c.busy() {
		if m != stewards[0] && slices.Contains(c.running(m), w) {
			lessee = m
		}
	}
	for _, m := range append(slices.Clone(c.Agents), c.Coordinator) {
		if m == stewards[0] || m != lessee && c.Rand.IntN(2) == 0 {
			as = append(as, m)
		} else {
			bs = append(bs, m)
		}
	}
	return as, bs, lessee != nil
}

// silent counts the exchanges that failed so far.
func (c *chaos) silent() int {
	n := 0
	for _, m := range c.Agents {
		n += m.Logged("steward does not answer")
	}
	return n
}

// cutting returns what mends a cut that was just made. Exchanges must have failed meanwhile.
func (c *chaos) cutting(what string) (end func()) {
	c.cut = true
	stopped, silent := c.Net.Counts().Stopped, c.silent()
	return func() {
		c.cut = false
		c.Heal()
		if n, m := c.Net.Counts().Stopped-stopped, c.silent()-silent; n == 0 || m == 0 {
			c.t.Errorf("%s: a %s stopped %d messages and cut %d exchanges", c.clock(), what, n, m)
		}
	}
}

// parting cuts ways between two sides.
func parting(what string, cut func(g *gridtest.Grid, as, bs []*gridtest.Machine)) fault {
	return fault{what, func(c *chaos) (end func(), lasts time.Duration, ok bool) {
		as, bs, ok := c.sides()
		if !ok {
			return nil, 0, false
		}
		if c.Rand.IntN(2) == 0 {
			as, bs = bs, as
		}
		cut(c.Grid, as, bs)
		return c.cutting(what), c.spell(), true
	}}
}

// weather has the network do something to messages, as strongly as the share that is drawn says, none ending it.
func weather(what string, set func(n *simnet.Network, share float64), count func(simnet.Counts) int) fault {
	return fault{what, func(c *chaos) (end func(), lasts time.Duration, ok bool) {
		before := count(c.Net.Counts())
		set(c.Net, 0.1+0.9*c.Rand.Float64())
		return func() {
			set(c.Net, 0)
			if n := count(c.Net.Counts()) - before; n < 20 {
				c.t.Errorf("%s: %s concerned %d messages", c.clock(), what, n)
			}
		}, c.spell(), true
	}}
}

func (c *chaos) fullDisk() (end func(), lasts time.Duration, ok bool) {
	m, ok := pick(c.Rand, c.busy())
	if !ok {
		return nil, 0, false
	}
	c.struck[m] = true
	before := m.Refused()
	m.Fill(errors.New("no space left on device"))
	return c.later("a full disk", func() bool { return m.Refused() > before && m.Node().Draining() != "" }, func() {
		if n := m.Refused() - before; n == 0 || m.Node().Disk() == nil || m.Node().Draining() == "" {
			c.t.Errorf("%s: a full disk refused %d writes, %s says %v and drains because %q", c.clock(), n, m.IP, m.Node().Disk(), m.Node().Draining())
		}
		m.Fill(nil)
		delete(c.struck, m)
		c.bring(m)
	}), c.spell(), true
}

// later returns an end that waits until a fault has taken effect, or until all is mended.
func (c *chaos) later(name string, took func() bool, end func()) func() {
	var again func()
	again = func() {
		if !took() && !c.healing {
			c.active[name] = again
			c.spells = append(c.spells, &spell{time.Now(), time.Now().Add(strikeAgain)})
			c.in(strikeAgain, func() { c.finish(name) })
			return
		}
		end()
	}
	return again
}

// flippedBit changes one bit of a pack on a disk. Whoever asks there gets an error, and never the changed bytes.
func (c *chaos) flippedBit() (end func(), lasts time.Duration, ok bool) {
	for _, w := range c.jobs {
		id, holder := c.packOf(w)
		if holder == nil {
			continue
		}
		path, err := holder.Node().Blobs.Path(id.Digest)
		if err != nil {
			c.t.Fatal(err)
		}
		data, err := os.ReadFile(path)
		if err != nil {
			c.t.Fatal(err)
		}
		data[c.Rand.IntN(len(data))] ^= 1 << c.Rand.IntN(8)
		if err := os.WriteFile(path, data, 0o600); err != nil {
			c.t.Fatal(err)
		}
		if err := w.By.Fetch(w.Job, id, holder); err == nil || !strings.Contains(err.Error(), "have another digest") {
			c.t.Errorf("%s: a flipped bit was not noticed: %v", c.clock(), err)
		}
		return func() {}, 0, true
	}
	return nil, 0, false
}

// packOf returns a pack of a live job and a machine that holds it and answers.
func (c *chaos) packOf(w *work) (pack jobs.Blob, holder *gridtest.Machine) {
	if w.over() || c.cut {
		return pack, nil
	}
	for _, m := range c.free() {
		for _, kept := range m.Node().Blobs.List() {
			if slices.ContainsFunc(kept.Claims, func(h blobs.Claim) bool {
				return h.Job == w.ID && (h.Kind == blobs.Pack || h.Kind == blobs.Own)
			}) {
				return kept.Blob, m
			}
		}
	}
	return pack, nil
}

// lostState has the disk of an agent go that had reports of its own.
func (c *chaos) lostState() (end func(), lasts time.Duration, ok bool) {
	m, ok := pick(c.Rand, c.busy())
	if !ok || !c.Coordinator.On() || len(m.Node().Store.OwnShards()) == 0 {
		return nil, 0, false
	}
	old := m.Node().ID()
	c.forgive(m)
	back := c.strikeDown(m)
	m.Lose()
	delete(c.once, m)
	return func() {
		back()
		if m.On() && m.Node().ID() == old {
			c.t.Errorf("%s: %s lost its state and is who it was", c.clock(), m.IP)
		}
	}, c.between(time.Minute, 10*time.Minute), true
}

// wrongClock puts a steward's clock an hour ahead or behind. It says so itself, and nobody else does (I21).
func (c *chaos) wrongClock() (end func(), lasts time.Duration, ok bool) {
	_, stewards, ok := c.target()
	if !ok || c.cut || len(c.free()) < 6 {
		return nil, 0, false
	}
	m := stewards[c.Rand.IntN(len(stewards))]
	c.struck[m] = true
	by := time.Hour
	if c.Rand.IntN(2) == 0 {
		by = -by
	}
	m.Skew(by)
	return func() {
		for _, o := range c.On() {
			if clock := o.Node().Clock(); clock.Off != (o == m) {
				c.t.Errorf("I21: %s: %s, wrong %v, says of its clock %+v", c.clock(), o.IP, o == m, clock)
			}
		}
		m.Skew(0)
		delete(c.struck, m)
		c.bring(m)
	}, 10*time.Minute + c.spell(), true
}

func (c *chaos) wipedCoordinator() (end func(), lasts time.Duration, ok bool) {
	if !c.Coordinator.On() || len(c.Coordinator.Node().Store.Jobs(false)) == 0 {
		return nil, 0, false
	}
	c.Coordinator.Cut()
	c.Coordinator.Wipe(keys...)
	return func() {
		c.Coordinator.Start()
		if n := len(c.Coordinator.Node().Store.Jobs(false)); n != 0 {
			c.t.Errorf("%s: a wiped coordinator knows %d jobs", c.clock(), n)
		}
	}, c.between(time.Minute, 20*time.Minute), true
}

// cancel ends a job of which units run.
func (c *chaos) cancel() (end func(), lasts time.Duration, ok bool) {
	w, ok := pick(c.Rand, c.running())
	to, there := pick(c.Rand, c.free())
	if !ok || !there || w.lied || !c.knows(to, w) {
		return nil, 0, false
	}
	c.say(w, record.TypeCancel, to)
	c.watch(w)
	return func() {}, 0, true
}

func (c *chaos) knows(m *gridtest.Machine, w *work) bool {
	_, err := m.Node().Store.Job(w.ID)
	return err == nil
}

// seal has a submitter say that he has the results of a job, once he does.
func (c *chaos) seal() (end func(), lasts time.Duration, ok bool) {
	return func() {}, 0, slices.ContainsFunc(c.jobs, c.sealed)
}

// sealed reports whether the submitter of a job could get its results, and so has sealed it.
func (c *chaos) sealed(w *work) bool {
	to, there := pick(c.Rand, c.free())
	if w.over() || w.lied || c.cut || !there || !c.knows(to, w) || !w.Done() {
		return false
	}
	got, err := w.Read()
	if err != nil || len(got) < int(w.units) {
		return false // what holds the rest is off
	}
	w.Expect(got) // I3, I15, I16
	c.say(w, record.TypeSeal, to)
	c.watch(w)
	return true
}

// expiry has a job expire while its units run.
func (c *chaos) expiry() (end func(), lasts time.Duration, ok bool) {
	if !c.Coordinator.On() || c.cut || len(c.busy()) == 0 {
		return nil, 0, false
	}
	takes, lives := 40*time.Minute, c.between(40*time.Minute, 80*time.Minute)
	if c.length <= time.Hour {
		takes, lives = 4*time.Minute, c.between(6*time.Minute, 8*time.Minute)
	}
	w := c.submitBy(c.NewUser(peer.Submitter, fmt.Sprint("user ", len(c.jobs))), 100, takes, lives, nil)
	var ran atomic.Bool
	c.at(w.Manifest.Expires.Sub(c.begun)-time.Second, func() { ran.Store(len(w.on(c)) > 0) })
	return func() {
		switch {
		case !ran.Load() && !c.healing: // all were off: another one
			c.strike("expiry again", fault{"expiry", (*chaos).expiry})
		case !ran.Load():
			c.t.Errorf("%s: nothing of a job ran when it expired", c.clock())
		}
	}, lives.Truncate(time.Second) + time.Second, true
}
