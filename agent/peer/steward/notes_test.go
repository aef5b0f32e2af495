package steward

import (
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/protobuf/proto"

	"idlegrid/agent/peer"
	"idlegrid/agent/peer/identity"
	"idlegrid/agent/peer/identity/identitytest"
	"idlegrid/agent/peer/records"
	"idlegrid/jobs"
	"idlegrid/jobs/manifest"
	"idlegrid/jobs/record"
	gridv1 "idlegrid/proto/grid/v1"
)

// note is the note of a unit's checkpoint.
func (b *bench) note(by *identity.Identity, j records.Job, unit, sequence uint64, change ...func(*record.Checkpoint)) *gridv1.Record {
	b.t.Helper()
	c := &record.Checkpoint{
		Job: j.ID, Unit: unit, Sequence: sequence, CPU: time.Minute, Runtime: "r",
		Parts: []jobs.Blob{{Digest: jobs.DigestOf([]byte("state")), Size: 5}},
	}
	for _, f := range change {
		f(c)
	}
	receipt := record.Receipt{Holder: b.agents[3].ID(), Blob: c.Parts[0], Job: j.ID}
	holders := []record.Envelope{record.Sign(record.TypeReceipt, receipt.Encode(), b.agents[3].Key)}
	n, err := records.NewNote(c, holders, by.Key, by.Chain)
	if err != nil {
		b.t.Fatal(err)
	}
	return n.ToProto()
}

// bring is an exchange that brings notes.
func (b *bench) bring(who int, shard jobs.ShardID, req *gridv1.ExchangeRequest, notes ...*gridv1.Record) *gridv1.ExchangeReply {
	b.t.Helper()
	req.Shard, req.Checkpoints = records.ShardToProto(shard), notes
	reply, err := b.Exchange(b.as(b.agents[who]), req)
	if err != nil {
		b.t.Fatal(err)
	}
	return reply
}

// given returns the sequences of the notes in a reply, in its order.
func given(t *testing.T, reply *gridv1.ExchangeReply) (sequences []uint64) {
	t.Helper()
	for _, p := range reply.GetCheckpoints() {
		n, err := records.ReadNote(p)
		if err != nil {
			t.Fatal(err)
		}
		sequences = append(sequences, n.Sequence)
	}
	return sequences
}

func holds(units ...uint64) (runs []*gridv1.Run) {
	for _, u := range units {
		runs = append(runs, &gridv1.Run{First: u, Count: 1})
	}
	return runs
}

// lentJob is a fresh job of ten units, of which agent 1 is lent the first.
func (b *bench) lentJob(change ...func(*manifest.Manifest)) (records.Job, jobs.ShardID) {
	b.t.Helper()
	b.only(0)
	j := b.job(true, 10, 1, change...)
	shard := shardOf(j, 0)
	if reply := b.ask(1, shard, 1); count(reply.GetLend()) != 1 {
		b.t.Fatalf("lent %v", reply.GetLend())
	}
	return j, shard
}

// The newest two checkpoints of a unit go to whoever is lent it next, the newest first, and to nobody when it is done.
func TestNotesGoWithTheLease(t *testing.T) {
	inBench(t, func(t *testing.T, b *bench) {
		j, shard := b.lentJob()
		for sequence := range uint64(4) {
			b.bring(1, shard, &gridv1.ExchangeRequest{Held: holds(0)}, b.note(b.agents[1], j, 0, sequence+1))
		}
		if reply := b.ask(2, shard, 1); len(given(t, reply)) != 0 {
			t.Errorf("another unit is lent with %v", given(t, reply))
		}
		b.bring(1, shard, &gridv1.ExchangeRequest{}) // it gives the unit back
		if reply := b.bring(2, shard, &gridv1.ExchangeRequest{Slots: 1, Held: holds(1)}); !slices.Equal(given(t, reply), []uint64{4, 3}) {
			t.Errorf("it is lent %v with checkpoints %v", reply.GetLend(), given(t, reply))
		}
		b.report(2, j, false, 0)
		if reply := b.bring(1, shard, &gridv1.ExchangeRequest{}, b.note(b.agents[1], j, 0, 4)); !slices.Equal(reply.GetSettled(), []uint64{0}) {
			t.Errorf("of a unit that is done it says %v", reply.GetSettled())
		}
		time.Sleep(2 * wakePeriod)
		if b.ask(2, shard, 0); b.notes.total != 0 {
			t.Errorf("%d notes are kept of it", b.notes.total)
		}
	})
}

// A steward that was restarted learns from another what that was told: the newest goes with a lease, whatever an agent
// says that had the unit once, and nothing that is forged or of another shard.
func TestNotesAreLearned(t *testing.T) {
	inBench(t, func(t *testing.T, b *bench) {
		b.only(0, 3)
		j := b.job(false, 10, 1)
		shard := shardOf(j, 0)
		forged := b.note(b.agents[1], j, 0, 9)
		forged.Envelope.Signatures[0].Sig[0]++
		b.told = []*gridv1.Record{
			b.note(b.agents[2], j, 0, 7), b.note(b.agents[2], j, 0, 6), forged, b.note(b.agents[2], b.job(false, 10, 1), 0, 9), {},
		}
		b.bring(1, shard, &gridv1.ExchangeRequest{}, b.note(b.agents[1], j, 0, 3))
		time.Sleep(DefaultPeriod)
		again := b.bring(1, shard, &gridv1.ExchangeRequest{Slots: 1}, b.note(b.agents[1], j, 0, 4), b.note(b.agents[1], j, 0, 3))
		if !slices.Equal(given(t, again), []uint64{7, 6}) {
			t.Errorf("it is lent %v with checkpoints %v", again.GetLend(), given(t, again))
		}
	})
}

// What a unit reached in an attempt that failed may be why: the next one begins anew.
func TestNotesOfAFailedAttempt(t *testing.T) {
	inBench(t, func(t *testing.T, b *bench) {
		j, shard := b.lentJob()
		b.bring(1, shard, &gridv1.ExchangeRequest{Held: holds(0)}, b.note(b.agents[1], j, 0, 1))
		b.report(1, j, true, 0)
		b.bring(1, shard, &gridv1.ExchangeRequest{})
		reply := b.ask(2, shard, 1)
		if runs := reply.GetLend(); len(runs) != 1 || runs[0].GetFirst() != 0 || runs[0].GetAttempt() != 1 || len(given(t, reply)) != 0 {
			t.Fatalf("lent %v with %v", runs, given(t, reply))
		}
		second := func(c *record.Checkpoint) { c.Attempt = 1 }
		b.bring(3, shard, &gridv1.ExchangeRequest{}, b.note(b.agents[3], j, 0, 9, second))
		b.bring(2, shard, &gridv1.ExchangeRequest{Held: holds(0)}, b.note(b.agents[2], j, 0, 2, second))
		b.bring(3, shard, &gridv1.ExchangeRequest{}, b.note(b.agents[3], j, 0, 10, second))
		b.bring(2, shard, &gridv1.ExchangeRequest{})
		b.bring(3, shard, &gridv1.ExchangeRequest{}, b.note(b.agents[3], j, 0, 11, second))
		if reply := b.ask(3, shard, 10); !slices.Equal(given(t, reply), []uint64{2}) {
			t.Errorf("the next agent is lent it with %v: only who ran the second attempt may say how far it came", given(t, reply))
		}
	})
}

// TestP11ForgedNotes: nothing is kept that an agent of this grid did not sign, of a unit that there is; and whatever is
// wrong with a note does not keep its bringer from its exchange.
func TestP11ForgedNotes(t *testing.T) {
	inBench(t, func(t *testing.T, b *bench) {
		j, shard := b.lentJob()
		other, _ := b.lentJob()
		b.ask(1, shard, 1, holds(0)...)
		stranger := identitytest.NewGrid(t).Agent()
		good := b.note(b.agents[1], j, 0, 7)
		spoilt := func(spoil func(*gridv1.Record)) *gridv1.Record {
			n := proto.Clone(good).(*gridv1.Record)
			spoil(n)
			return n
		}
		for name, n := range map[string]*gridv1.Record{
			"another grid's agent": b.note(stranger, j, 0, 7),
			"a submitter":          b.note(b.submitter, j, 0, 7),
			"the coordinator":      b.note(b.coordinator, j, 0, 7),
			"another job":          b.note(b.agents[1], other, 0, 7),
			"a unit past the job":  b.note(b.agents[1], j, 10, 7),
			"a later attempt":      b.note(b.agents[1], j, 0, 7, func(c *record.Checkpoint) { c.Attempt = 1 }),
			"nothing":              {},
			"another's signature":  spoilt(func(n *gridv1.Record) { n.Envelope.Signatures[0].Sig[0]++ }),
			"changed":              spoilt(func(n *gridv1.Record) { n.Envelope.Payload[len(n.Envelope.Payload)-1]++ }),
			"a forged receipt":     spoilt(func(n *gridv1.Record) { n.Receipts[0].Signatures[0].Sig[0]++ }),
			"a receipt of a pack": spoilt(func(n *gridv1.Record) {
				r := record.Receipt{Holder: b.agents[3].ID(), Blob: jobs.Blob{Digest: jobs.Digest{1}, Size: 1}, Job: j.ID}
				n.Receipts[0] = record.Sign(record.TypeReceipt, r.Encode(), b.agents[3].Key).ToProto()
			}),
			"another type": spoilt(func(n *gridv1.Record) { n.Envelope.PayloadType = record.TypeSeal }),
			"too large": spoilt(func(n *gridv1.Record) {
				n.Chains = append(n.Chains, &gridv1.Chain{Certificates: [][]byte{make([]byte, 8<<10)}})
			}),
		} {
			if b.bring(1, shard, &gridv1.ExchangeRequest{Held: holds(0)}, n); b.notes.total != 0 {
				t.Fatalf("%s: a note is kept", name)
			}
		}
		if b.bring(2, shard, &gridv1.ExchangeRequest{}, good); b.notes.total != 0 {
			t.Error("a note of a unit that another has is kept")
		}
		if b.bring(1, shard, &gridv1.ExchangeRequest{Held: holds(0)}, good); b.notes.total != 1 {
			t.Error("a good note is not kept")
		}
	})
}

// TestP11NotesOfNonLessees: whoever never had a unit says nothing of it to a steward that lends since there is the job, nor
// where another had it last; what it told aside does not stand before what a lessee says.
func TestP11NotesOfNonLessees(t *testing.T) {
	inBench(t, func(t *testing.T, b *bench) {
		j, shard := b.lentJob()
		forged := func(unit uint64) *gridv1.Record { return b.note(b.agents[2], j, unit, 1<<40) }
		if b.bring(2, shard, &gridv1.ExchangeRequest{}, forged(5)); b.notes.total != 0 {
			t.Error("a note of a unit that nobody was lent is kept")
		}
		b.bring(1, shard, &gridv1.ExchangeRequest{}) // it gives unit 0 back
		if b.bring(2, shard, &gridv1.ExchangeRequest{}, forged(0)); b.notes.total != 0 {
			t.Error("a note of a unit that another had last is kept")
		}
		if b.bring(1, shard, &gridv1.ExchangeRequest{}, b.note(b.agents[1], j, 0, 1)); b.notes.total != 1 {
			t.Error("a note of who had it last is not kept")
		}
		// To one that takes over, anyone may speak of what it never lent, but lessees come first.
		j = b.job(false, 10, 1)
		shard = shardOf(j, 0)
		mine := b.note(b.agents[1], j, 0, 1)
		b.bring(1, shard, &gridv1.ExchangeRequest{Aside: true}, mine)
		b.bring(2, shard, &gridv1.ExchangeRequest{Aside: true}, forged(0), forged(1))
		b.bring(1, shard, &gridv1.ExchangeRequest{Held: holds(0)}, mine)
		b.ask(3, shard, 1)
		time.Sleep(DefaultPeriod + time.Second)
		b.bring(1, shard, &gridv1.ExchangeRequest{}) // it gives the unit back
		if reply := b.ask(3, shard, 1); len(reply.GetLend()) != 1 || reply.GetLend()[0].GetFirst() != 0 || !slices.Equal(given(t, reply), []uint64{1}) {
			t.Errorf("lent %v with %v", reply.GetLend(), given(t, reply))
		}
	})
}

// TestNotesToldAsideReplaceWhatWasLentHere: a steward that lent while the first was off hears, once that one is back, from
// whomever it lends to. What this one lent before must not stand before that.
func TestNotesToldAsideReplaceWhatWasLentHere(t *testing.T) {
	inBench(t, func(t *testing.T, b *bench) {
		b.only(0, 2)
		both := b.members()
		j := b.job(true, 10, 1)
		for peer.Stewards(shardOf(j, 0), both)[0].ID != b.agents[2].ID() {
			j = b.job(true, 10, 1)
		}
		shard := shardOf(j, 0)
		b.only(0)
		b.ask(1, shard, 1)
		b.bring(1, shard, &gridv1.ExchangeRequest{Held: holds(0)}, b.note(b.agents[1], j, 0, 5))
		b.mu.Lock()
		b.pool = both
		b.mu.Unlock()
		b.bring(3, shard, &gridv1.ExchangeRequest{Aside: true}, b.note(b.agents[3], j, 0, 9))
		b.only(0)
		b.bring(1, shard, &gridv1.ExchangeRequest{})
		if reply := b.bring(3, shard, &gridv1.ExchangeRequest{Slots: 1}); !slices.Equal(given(t, reply), []uint64{9, 5}) {
			t.Errorf("lent %v with %v", reply.GetLend(), given(t, reply))
		}
	})
}

// TestNotesOfWhoTurnsHere: an agent that cannot reach the first steward any more and tells this one, which it told aside
// before, stands behind nothing that it said then, whatever this one lends it.
func TestNotesOfWhoTurnsHere(t *testing.T) {
	for name, held := range map[string][]*gridv1.Run{"it says what it has": holds(0), "it gives the unit back": nil} {
		t.Run(name, func(t *testing.T) {
			inBench(t, func(t *testing.T, b *bench) {
				b.only(0, 2)
				j := b.job(false, 10, 1)
				for peer.Stewards(shardOf(j, 0), b.members())[0].ID != b.agents[2].ID() {
					j = b.job(false, 10, 1)
				}
				shard := shardOf(j, 0)
				note := func(sequence uint64) *gridv1.Record { return b.note(b.agents[1], j, 0, sequence) }
				b.bring(1, shard, &gridv1.ExchangeRequest{Aside: true}, note(2), note(1))
				b.bring(1, shard, &gridv1.ExchangeRequest{Held: held}, note(4), note(3))
				b.Lost(b.agents[1].ID())
				time.Sleep(2 * DefaultPeriod)
				if reply := b.ask(3, shard, 1); !slices.Equal(given(t, reply), []uint64{4, 3}) {
					t.Errorf("lent %v with %v", reply.GetLend(), given(t, reply))
				}
			})
		})
	}
}

// With more than one owner to report an outcome nobody goes on from what another reached: one poisoned checkpoint would
// be the outcome of all.
func TestQuorumSharesNoCheckpoints(t *testing.T) {
	inBench(t, func(t *testing.T, b *bench) {
		j, shard := b.lentJob(func(m *manifest.Manifest) { m.Quorum = 2 })
		b.bring(1, shard, &gridv1.ExchangeRequest{Held: holds(0)}, b.note(b.agents[1], j, 0, 1))
		b.bring(1, shard, &gridv1.ExchangeRequest{})
		if reply := b.ask(2, shard, 1); len(reply.GetLend()) != 1 || len(given(t, reply)) != 0 || b.notes.total != 0 {
			t.Errorf("lent %v with %v", reply.GetLend(), given(t, reply))
		}
	})
}

// A steward that lends nothing of the shard keeps what it is told aside, lists nobody as its lessee for that, and gives
// it with the leases when it lends.
func TestNotesToldAside(t *testing.T) {
	inBench(t, func(t *testing.T, b *bench) {
		b.only(0)
		j := b.job(false, 10, 1)
		shard := shardOf(j, 0)
		b.bring(1, shard, &gridv1.ExchangeRequest{Aside: true}, b.note(b.agents[1], j, 0, 1))
		if len(b.shards) != 0 || b.notes.total != 1 {
			t.Errorf("%d shards are lent, %d notes are kept", len(b.shards), b.notes.total)
		}
		b.ask(2, shard, 1)
		time.Sleep(DefaultPeriod + time.Second)
		synctest.Wait()
		if reply := b.ask(2, shard, 1); !slices.Equal(given(t, reply), []uint64{1}) {
			t.Errorf("lent %v with %v", reply.GetLend(), given(t, reply))
		}
	})
}

// TestP11FloodOfNotes: whoever brings many notes pushes out its own, and the memory has an end.
func TestP11FloodOfNotes(t *testing.T) {
	b := newNotebook()
	shard := jobs.ShardID{Job: jobs.JobID{1}}
	bring := func(by byte, unit uint64) *note {
		n := &note{
			Note:  &records.Note{Checkpoint: &record.Checkpoint{Unit: unit, Sequence: 1}, Author: jobs.AgentID{by}},
			shard: shard, by: jobs.AgentID{by},
		}
		b.add(n)
		return n
	}
	honest := bring(1, 7)
	for unit := range uint64(4 * maxNotesBy) {
		bring(2, 1000+unit)
	}
	if n := len(b.by[jobs.AgentID{2}]); n != maxNotesBy {
		t.Errorf("%d notes of one agent are kept, expected %d", n, maxNotesBy)
	}
	for by := range byte(2 * maxNotes / maxNotesBy) {
		for unit := range uint64(maxNotesBy) {
			bring(10+by, uint64(by)*10_000+unit+100_000)
		}
	}
	kept := 0
	for _, list := range b.units[shard] {
		kept += len(list)
	}
	if b.total != maxNotes || kept != maxNotes {
		t.Errorf("%d notes are kept, %d counted, expected %d", kept, b.total, maxNotes)
	}
	if !b.knows(shard, honest.Note) {
		t.Error("an honest agent's only note was pushed out")
	}
	for sequence := range uint64(10) {
		b.add(&note{
			Note:  &records.Note{Checkpoint: &record.Checkpoint{Unit: 7, Sequence: 10 + sequence}, Author: jobs.AgentID{3}},
			shard: shard, by: jobs.AgentID{3},
		})
	}
	if n := len(b.units[shard][7]); n != generations {
		t.Errorf("%d notes of one unit are kept", n)
	}
	b.dropAll(func(jobs.ShardID) bool { return true })
	if b.total != 0 || len(b.units)+len(b.by)+len(b.pruned) != 0 {
		t.Errorf("%d notes of a job that has ended are kept", b.total)
	}
}
