package worker

import (
	"crypto/ed25519"
	"testing"
	"time"

	"idlegrid/agent/executor"
	"idlegrid/agent/peer/records"
	"idlegrid/agent/peer/steward"
	"idlegrid/jobs"
	"idlegrid/jobs/manifest"
	"idlegrid/jobs/record"
	gridv1 "idlegrid/proto/grid/v1"
)

// noteOf is the note of a unit's checkpoint by somebody.
func noteOf(t *testing.T, d *desk, unit, sequence uint64) *records.Note {
	t.Helper()
	c := &record.Checkpoint{
		Job: d.s.id.Job, Unit: unit, Sequence: sequence, Runtime: "r", Parts: []jobs.Blob{{Digest: jobs.Digest{1}, Size: 3}},
	}
	n, err := records.NewNote(c, nil, ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize)), [][]byte{{1}})
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// TestShortUnitsAreNotSaved: whatever runs for seconds, or together with others, has nothing to do with checkpoints.
func TestShortUnitsAreNotSaved(t *testing.T) {
	for name, test := range map[string]struct {
		change func(*desk, *manifest.Manifest, *program)
		tasks  int
		want   bool
	}{
		"a job's first unit": {func(*desk, *manifest.Manifest, *program) {}, 1, true},
		"long units":         {func(_ *desk, _ *manifest.Manifest, p *program) { p.unit = time.Hour }, 1, true},
		"just worth it":      {func(_ *desk, _ *manifest.Manifest, p *program) { p.unit = worthSaving }, 1, true},
		"short units":        {func(_ *desk, _ *manifest.Manifest, p *program) { p.unit = worthSaving - 1 }, 1, false},
		"as long as asked for": {func(_ *desk, m *manifest.Manifest, p *program) {
			m.Checkpoint, p.unit = time.Second, 2*time.Second
		}, 1, true},
		"several at once": {func(*desk, *manifest.Manifest, *program) {}, 2, false},
		"none asked for":  {func(_ *desk, m *manifest.Manifest, _ *program) { m.Checkpoint = manifest.NoCheckpoint }, 1, false},
		"quorum 2":        {func(_ *desk, m *manifest.Manifest, _ *program) { m.Quorum = 2 }, 1, false},
		"nowhere to":      {func(d *desk, _ *manifest.Manifest, _ *program) { d.o.Scratch = "" }, 1, false},
	} {
		d := newDesk(10, 1)
		d.o.Scratch, d.s.job.Manifest.Quorum = t.TempDir(), 1
		d.lend(0, 4)
		p := d.programs[d.s.id.Job]
		test.change(d, d.s.job.Manifest, p)
		if got := d.saver(d.s.queue[:test.tasks], p, d.now) != nil; got != test.want {
			t.Errorf("%s: checkpoints are made: %v", name, got)
		}
	}
}

// TestP11HostileNotes: a steward cannot fill the memory with checkpoints, nor with those of units that are not held,
// and what it says of units that are held lets nothing go.
func TestP11HostileNotes(t *testing.T) {
	d := newDesk(10, 1)
	d.lend(0, 1)
	d.own[jobs.UnitID{Job: d.s.id.Job, Unit: 0}] = &own{shard: d.s.id, notes: []*records.Note{noteOf(t, d, 0, 1)}}
	reply := &gridv1.ExchangeReply{Settled: []uint64{0, 5, 1 << 60}, Checkpoints: []*gridv1.Record{nil, {}}}
	for sequence := range uint64(1000) {
		reply.Checkpoints = append(reply.Checkpoints, noteOf(t, d, sequence%3, sequence).ToProto())
	}
	d.answered(d.s, reply, true, d.now)
	if len(d.s.hints) != 1 || len(d.s.hints[0]) != generations {
		t.Errorf("notes of %d units are kept, %d of the one that is held", len(d.s.hints), len(d.s.hints[0]))
	}
	if len(d.free) != 0 {
		t.Errorf("the checkpoints of %v are let go", d.free)
	}
	d.drop(d.s, 0)
	if len(d.s.hints) != 0 {
		t.Error("notes of a unit that is no longer held are kept")
	}
	d.answered(d.s, reply, true, d.now)
	if len(d.free) != 1 || d.free[0].Unit != 0 {
		t.Errorf("of a unit that is done elsewhere %v is let go", d.free)
	}
}

// TestStewardsAreTold: each steward is told of the newest checkpoint once, and again when it may have been restarted.
func TestStewardsAreTold(t *testing.T) {
	d := newDesk(10, 1)
	a, b := jobs.AgentID{1}, jobs.AgentID{2}
	o := &own{shard: d.s.id, notes: []*records.Note{noteOf(t, d, 3, 1)}}
	d.own[jobs.UnitID{Job: d.s.id.Job, Unit: 3}] = o
	expect := func(when string, to jobs.AgentID, at time.Time, want int) {
		t.Helper()
		if got := len(d.untold(d.s, to, at)); got != want {
			t.Errorf("%s: %d units, expected %d", when, got, want)
		}
	}
	req := &gridv1.ExchangeRequest{}
	told := tell(req, d.untold(d.s, a, d.now))
	if len(req.GetCheckpoints()) != 1 {
		t.Fatalf("%d notes travel", len(req.GetCheckpoints()))
	}
	expect("it did not answer", a, d.now, 1)
	told(a, d.now)
	expect("it knows", a, d.now.Add(tellAgain-1), 0)
	expect("another does not", b, d.now, 1)
	expect("it may have been restarted", a, d.now.Add(tellAgain), 1)
	o.notes = []*records.Note{noteOf(t, d, 3, 2), o.notes[0]}
	expect("there is a newer one", a, d.now, 1)
	for unit := range uint64(steward.MaxNotes) {
		d.own[jobs.UnitID{Job: d.s.id.Job, Unit: 100 + unit}] = &own{shard: d.s.id, notes: []*records.Note{noteOf(t, d, 100+unit, 1)}}
	}
	expect("many at once", a, d.now, steward.MaxNotes/generations)
}

// TestSaverTriesTheBest: what an agent made itself and what others say are tried newest first, once each, and those of
// another attempt or runtime not at all; what follows has a higher sequence than all of them.
func TestSaverTriesTheBest(t *testing.T) {
	d := newDesk(10, 1)
	d.o.Scratch, d.o.Runtime = t.TempDir(), "r"
	d.s.job.Manifest.Quorum = 1
	d.lend(0, 1)
	other := noteOf(t, d, 0, 99)
	other.Runtime = "another"
	d.s.hints = map[uint64][]*records.Note{0: {noteOf(t, d, 0, 3), noteOf(t, d, 0, 5), other}}
	d.own[jobs.UnitID{Job: d.s.id.Job, Unit: 0}] = &own{shard: d.s.id, notes: []*records.Note{noteOf(t, d, 0, 4), noteOf(t, d, 0, 3)}}
	sv := d.saver(d.s.queue[:1], &program{ready: &executor.Program{}}, d.now)
	var got []uint64
	for _, n := range sv.from {
		got = append(got, n.Sequence)
	}
	if len(got) != 3 || got[0] != 5 || got[1] != 4 || got[2] != 3 || sv.past != 99 {
		t.Errorf("tries %v, sequences are past %d", got, sv.past)
	}
	steward := jobs.AgentID{1}
	if list := d.untold(d.s, steward, d.now); len(list) != 0 {
		t.Errorf("a steward is told of %d, behind which others left this agent", list[0].notes[0].Sequence)
	}
	d.noted(sv, []*records.Note{noteOf(t, d, 0, 100)})
	if list := d.untold(d.s, steward, d.now); len(list) != 1 {
		t.Error("a steward is not told of what the unit came to then")
	}
}

// BenchmarkNoCheckpoints is what short units pay for that there are checkpoints.
func BenchmarkNoCheckpoints(b *testing.B) {
	d := newDesk(10, 1)
	d.o.Scratch = b.TempDir()
	d.lend(0, 4)
	p := &program{unit: time.Millisecond}
	b.ReportAllocs()
	for b.Loop() {
		if d.saver(d.s.queue[:1], p, d.now) != nil {
			b.Fatal("a short unit is saved")
		}
		d.reported(&part{})
	}
}
