package steward

import (
	"maps"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// model is a shard's lender with agents as they see themselves: each holds what it was lent and has not
// finished, given back, or been told to drop.
type model struct {
	*table
	holds [3]map[uint64]bool
}

func newModel(t *rapid.T) *model {
	m := &model{table: newTable(t, rapid.Uint64Range(1, 40).Draw(t, "units"), uint32(rapid.IntRange(1, 3).Draw(t, "bundle")))}
	for i := range m.holds {
		m.holds[i] = map[uint64]bool{}
	}
	return m
}

// exchange lets an agent ask, and checks the answer against what was known before.
func (m *model) exchange(who int, slots uint32, unit time.Duration, answered bool) {
	mine := slices.Sorted(maps.Keys(m.holds[who]))
	m.l.expire(m.now)
	lentBefore, waited := maps.Clone(m.l.lent), maps.Clone(m.l.waiting)
	lend, drop := m.l.exchange(Ask{Agent: agent(who), Held: runs(mine...), Slots: slots, UnitTime: unit, Others: true}, m.led, m.now)
	m.check()
	dropped := bundles(drop)
	for _, b := range mine {
		other, lent := lentBefore[b]
		want := lent && other != agent(who) || len(m.led.OpenUnits(b, m.now)) == 0
		if want != slices.Contains(dropped, b) {
			m.t.Fatalf("bundle %d of agent %d: dropped %v, expected %v", b, who, !want, want)
		}
	}
	got := bundles(lend)
	if len(got) > 0 && (m.now.Before(m.l.opens) || slots == 0) {
		m.t.Fatalf("lent %v while it should not", got)
	}
	for _, b := range got {
		m.checkLent(who, b, mine, lentBefore[b] == agent(who), waited)
	}
	if want := int((slots + m.m.Bundle - 1) / m.m.Bundle); unit == 0 && len(got) > want {
		m.t.Fatalf("lent %d bundles, wanted %d", len(got), want)
	}
	if !answered {
		return
	}
	for _, b := range dropped {
		delete(m.holds[who], b)
	}
	for _, b := range got {
		m.holds[who][b] = true
	}
}

func (m *model) checkLent(who int, b uint64, mine []uint64, before bool, waited map[uint64]wait) {
	if slices.Contains(mine, b) || len(m.led.OpenUnits(b, m.now)) == 0 {
		m.t.Fatalf("bundle %d is lent, and is held or done", b)
	}
	w, again := waited[b]
	if again && m.now.Sub(w.since) >= otherFirst {
		return
	}
	if slices.Contains(m.led.FailedBy(b), agent(who)) {
		m.t.Fatalf("bundle %d is lent to agent %d, which failed it, though it waits since %s only (lent to it before: %v)",
			b, who, w.since, before)
	}
}

// Whatever agents do, no bundle is lent to two of them, none is forgotten, and at the end all are done.
func TestLenderModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := newModel(t)
		who := func(t *rapid.T) int { return rapid.IntRange(0, len(m.holds)-1).Draw(t, "agent") }
		pick := func(t *rapid.T, who int) (uint64, bool) {
			mine := slices.Sorted(maps.Keys(m.holds[who]))
			if len(mine) == 0 {
				return 0, false
			}
			return rapid.SampledFrom(mine).Draw(t, "bundle"), true
		}
		exchange := func(t *rapid.T) {
			slots, unit := uint32(rapid.IntRange(0, 4).Draw(t, "slots")), time.Duration(0)
			if rapid.Bool().Draw(t, "measured") {
				unit = time.Second
			}
			m.exchange(who(t), slots, unit, rapid.IntRange(0, 5).Draw(t, "answered") > 0)
		}
		t.Repeat(map[string]func(*rapid.T){
			"exchange": exchange, "exchange too": exchange, "and again": exchange,
			"finish": func(t *rapid.T) {
				a := who(t)
				if b, ok := pick(t, a); ok {
					m.done(a, b)
					delete(m.holds[a], b)
				}
			},
			"fail": func(t *rapid.T) {
				a := who(t)
				if b, ok := pick(t, a); ok && len(m.led.OpenUnits(b, m.now)) > 0 {
					m.report(a, b, true)
					delete(m.holds[a], b)
				}
			},
			"give back": func(t *rapid.T) {
				a := who(t)
				if b, ok := pick(t, a); ok {
					delete(m.holds[a], b)
				}
			},
			"wait":    func(t *rapid.T) { m.after(time.Duration(rapid.IntRange(1, 40).Draw(t, "seconds")) * time.Second) },
			"lose":    func(t *rapid.T) { m.l.lost(agent(who(t)), m.now) },
			"forget":  func(t *rapid.T) { clear(m.holds[who(t)]) },
			"restart": func(*rapid.T) { m.l = newLender(m.m, 0, m.now.Add(DefaultPeriod), DefaultTTL) },
			"":        func(t *rapid.T) { m.t = t; m.check() },
		})
		m.t = t
		m.finish()
	})
}

// finish lets all agents work honestly until nothing is open.
func (m *model) finish() {
	for range 200 {
		for a := range m.holds {
			m.exchange(a, 2, 0, true)
			for b := range m.holds[a] {
				if len(m.led.OpenUnits(b, m.now)) > 0 {
					m.done(a, b)
				}
			}
			clear(m.holds[a])
		}
		if m.led.Counts(m.now).Open == 0 {
			return
		}
		m.after(DefaultPeriod)
	}
	m.t.Fatalf("%d units are open for ever", m.led.Counts(m.now).Open)
}
