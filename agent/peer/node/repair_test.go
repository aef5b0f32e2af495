package node

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"idlegrid/agent/peer"
	"idlegrid/agent/peer/blobs"
	"idlegrid/agent/peer/records"
	"idlegrid/jobs"
	"idlegrid/jobs/manifest"
	"idlegrid/jobs/record"
)

// office is a pool of nodes that share a job whose program some of them hold.
type office struct {
	*pool
	nodes  []*Node
	states []string
	stop   []func()
	job    jobs.JobID
	blob   jobs.Blob
	data   []byte
}

// inOffice runs f at a time of the day with so many agents, all of which know a job that lives for days. Nobody holds its program yet.
func inOffice(t *testing.T, agents int, clock [2]int, f func(*office)) {
	t.Helper()
	inPool(t, func(p *pool) {
		until(clock[0], clock[1]) // cheap while nobody is on
		o := &office{pool: p, data: bytes.Repeat([]byte("program "), 1000)}
		o.blob = jobs.Blob{Digest: jobs.DigestOf(o.data), Size: int64(len(o.data))}
		for i := range agents {
			o.nodes, o.states, o.stop = append(o.nodes, nil), append(o.states, o.folder(firstAddress)), append(o.stop, nil)
			o.on(i)
		}
		defer func() {
			for i := range o.nodes {
				o.off(i)
			}
		}()
		p.within(3*time.Minute, "all are reachable", func() bool { return reachable(o.nodes...) })
		job, offer := p.job(func(m *manifest.Manifest) {
			m.Program, m.Units, m.Expires = o.blob, 10, m.Created.Add(20*24*time.Hour)
		})
		o.job = job
		for _, n := range o.nodes {
			if _, refused, err := n.Store.Add(p.t.Context(), []records.Offer{offer}, false); err != nil || len(refused) > 0 {
				t.Fatal(refused, err)
			}
		}
		f(o)
	})
}

func (o *office) on(i int) {
	o.t.Helper()
	o.nodes[i], o.stop[i] = o.serve(i+1, o.states[i])
}

func (o *office) off(i int) {
	if o.nodes[i] != nil {
		o.stop[i]()
		o.nodes[i] = nil
	}
}

// place gives the program to those who should hold it, and returns them.
func (o *office) place() []int {
	o.t.Helper()
	var who []int
	for _, m := range peer.Holders(o.blob.Digest, o.nodes[0].Members(), peer.Copies) {
		for i, n := range o.nodes {
			if n.isSelf(m) {
				o.must(n.Blobs.Put(blobs.For(o.job), o.blob, bytes.NewReader(o.data)))
				who = append(who, i)
			}
		}
	}
	return who
}

// holders returns who of those who are on has the program.
func (o *office) holders() []int {
	var who []int
	for i, n := range o.nodes {
		if n != nil && n.Blobs.Holds(o.job, o.blob.Digest) {
			who = append(who, i)
		}
	}
	return who
}

func (o *office) path(i int) string {
	return filepath.Join(o.states[i], blobsFolder, o.blob.Digest.String())
}

// neglect has nobody read the program for days at those who hold it.
func (o *office) neglect(who []int) {
	o.t.Helper()
	for _, i := range who {
		o.off(i)
		old := time.Now().Add(-scrubAfter - time.Hour)
		o.must(os.Chtimes(o.path(i), old, old))
		o.on(i)
	}
}

// moved returns how many bytes were moved to repair by those who are on.
func (o *office) moved() int64 {
	sum := int64(0)
	for _, n := range o.nodes {
		if n != nil {
			sum += n.Repaired()
		}
	}
	return sum
}

// until sleeps until it is so late.
func until(hour, minute int) {
	now := time.Now().Local()
	at := time.Date(now.Year(), now.Month(), now.Day(), hour, minute, 0, 0, time.Local)
	if !at.After(now) {
		at = at.AddDate(0, 0, 1)
	}
	time.Sleep(time.Until(at))
}

// TestI16SecondCopyIsAdded: two of three holders go. Within ten minutes there are two copies again, at any time of the
// day, and while it is still believed that the others come back there is no third.
func TestI16SecondCopyIsAdded(t *testing.T) {
	inOffice(t, 6, [2]int{16, 55}, func(o *office) {
		who := o.place()
		time.Sleep(30 * time.Minute)
		if got := o.moved(); got != 0 {
			t.Fatalf("%d bytes were moved when nothing was wrong", got)
		}
		o.off(who[0])
		o.off(who[1])
		o.within(10*time.Minute, "two copies are online", func() bool { return len(o.holders()) == 2 })
		until(20, 0)
		if got := o.holders(); len(got) != 2 || o.moved() > 2*o.blob.Size {
			t.Errorf("%v have it, %d bytes were moved", got, o.moved())
		}
		// After 120 h, which are cheap while all are off, the others are not believed any more.
		var rest []int
		for i, n := range o.nodes {
			if n != nil {
				rest = append(rest, i)
				o.off(i)
			}
		}
		time.Sleep(121 * time.Hour)
		for _, i := range rest {
			o.on(i)
		}
		o.within(15*time.Minute, "three copies", func() bool { return len(o.holders()) == 3 })
	})
}

// TestI16CopyThatNobodyKnowsOf: the only copy lies where no steward expects one, since word of it was lost.
func TestI16CopyThatNobodyKnowsOf(t *testing.T) {
	inOffice(t, 6, [2]int{10, 0}, func(o *office) {
		all := peer.Holders(o.blob.Digest, o.nodes[0].Members(), len(o.nodes))
		for _, n := range o.nodes {
			if n.isSelf(all[len(all)-1]) {
				o.must(n.Blobs.Put(blobs.For(o.job), o.blob, bytes.NewReader(o.data)))
			}
		}
		o.within(15*time.Minute, "two copies are online", func() bool { return len(o.holders()) >= 2 })
	})
}

// TestRestartedStewardAddsNothing: who stewards anew after a restart knows of a holder that was off before, as long as its
// copy counts.
func TestRestartedStewardAddsNothing(t *testing.T) {
	inOffice(t, 5, [2]int{10, 0}, func(o *office) {
		who := o.place()
		time.Sleep(15 * time.Minute) // who was here is on disk
		o.off(who[0])
		for i, n := range o.nodes {
			if n != nil {
				o.off(i)
				o.on(i)
			}
		}
		time.Sleep(3 * time.Hour)
		if got := o.moved(); got != 0 || len(o.holders()) != 2 {
			t.Errorf("%d bytes were moved for one PC that is off, %d have it", got, len(o.holders()))
		}
	})
}

// TestAttack15EveningAndMorning: in the evening one holder goes off, then all do, in the morning they come back. Nothing
// moves: a copy counts where its PC is off, and who is off cannot be asked for one.
func TestAttack15EveningAndMorning(t *testing.T) {
	inOffice(t, 4, [2]int{17, 30}, func(o *office) {
		who := o.place()
		until(18, 0)
		o.off(who[0])
		until(20, 30)
		if got := o.moved(); got != 0 || len(o.holders()) != 2 {
			t.Errorf("%d bytes were moved for one PC that is off, %d have it", got, len(o.holders()))
		}
		for _, i := range who[1:] {
			o.off(i)
		}
		until(8, 30)
		if got := o.moved(); got != 0 {
			t.Errorf("%d bytes were moved in the night", got)
		}
		for _, i := range who {
			o.on(i)
		}
		until(11, 0)
		if got := o.moved(); got != 0 || len(o.holders()) != 3 {
			t.Errorf("%d bytes were moved in the morning, %d have it", got, len(o.holders()))
		}
	})
}

// TestRushHour: what is not urgent waits for the end of the hours at which PCs go off and on.
func TestRushHour(t *testing.T) {
	inOffice(t, 4, [2]int{17, 1}, func(o *office) {
		who := o.place()
		o.must(o.nodes[who[2]].Blobs.Delete(o.blob.Digest)) // there never was a third
		until(19, 20)
		if got := o.holders(); len(got) != 2 || o.moved() != 0 {
			t.Errorf("%v have it, %d bytes were moved", got, o.moved())
		}
		until(19, 30)
		o.within(time.Hour, "three copies", func() bool { return len(o.holders()) == 3 })
	})
	for clock, rush := range map[[2]int]bool{{7, 29}: false, {7, 30}: true, {9, 29}: true, {9, 30}: false, {16, 59}: false, {17, 0}: true, {19, 29}: true, {19, 30}: false, {0, 0}: false} {
		if got := rushHour(time.Date(2026, 3, 3, clock[0], clock[1], 0, 0, time.Local)); got != rush {
			t.Errorf("%v: %v", clock, got)
		}
	}
}

// TestI17RepairKeepsToItsBudget: whatever there is to repair, a peer moves no more than it may.
func TestI17RepairKeepsToItsBudget(t *testing.T) {
	inPool(t, func(*pool) {
		b := budget{rate: 1000}
		begun := time.Now()
		for range 1000 {
			if b.take(7000) {
				b.count(7000)
			}
			time.Sleep(time.Second)
		}
		if most := int64(time.Since(begun).Seconds())*1000 + 7000; b.moved > most || b.moved < most-14000 {
			t.Errorf("%d bytes in %v, at most %d", b.moved, time.Since(begun), most)
		}
	})
}

// TestP6ScrubRepairs: a bit flips on one disk. When nobody has read the blob for days that is found, and the blob is
// fetched again as it was kept.
func TestP6ScrubRepairs(t *testing.T) {
	inOffice(t, 4, [2]int{11, 0}, func(o *office) {
		who := o.place()
		victim := who[1]
		before, _ := o.nodes[victim].Blobs.Entry(o.blob.Digest)
		rotten := bytes.Clone(o.data)
		rotten[17] ^= 8
		o.must(os.WriteFile(o.path(victim), rotten, 0o600))
		o.neglect(who)
		o.within(10*time.Minute, "all are read", func() bool {
			for _, i := range who {
				if e, here := o.nodes[i].Blobs.Entry(o.blob.Digest); !here || time.Since(e.Verified) > time.Hour {
					return false
				}
			}
			return true
		})
		if data, err := os.ReadFile(o.path(victim)); err != nil || !bytes.Equal(data, o.data) {
			t.Errorf("the rotten file is as it was: %v", err)
		}
		after, _ := o.nodes[victim].Blobs.Entry(o.blob.Digest)
		if len(before.Claims) != 1 || len(after.Claims) != 1 || after.Claims[0].Claim != before.Claims[0].Claim {
			t.Errorf("it was kept for %v and is for %v", before.Claims, after.Claims)
		}
		// That it was right is on disk.
		good := who[0]
		o.off(good)
		o.on(good)
		if e, _ := o.nodes[good].Blobs.Entry(o.blob.Digest); time.Since(e.Verified) > time.Hour {
			t.Error("after a restart it is read again")
		}
	})
}

// TestP6LastCopyStays: what others have not got for sure is not let go of, however full the disk; what two others have is.
func TestP6LastCopyStays(t *testing.T) {
	inOffice(t, 4, [2]int{11, 0}, func(o *office) {
		who := o.place()
		extra := slices.IndexFunc(o.nodes, func(n *Node) bool { return !n.Blobs.Holds(o.job, o.blob.Digest) })
		n := o.nodes[extra]
		cached := blobs.Claim{Job: o.job, Kind: blobs.Cached}
		o.must(n.Blobs.Put(cached, o.blob, bytes.NewReader(o.data)))
		e, _ := n.Blobs.Entry(o.blob.Digest)
		o.off(who[0])
		o.off(who[1])
		if err := n.letGo(o.t.Context(), e); jobs.KindOf(err) != jobs.Unavailable || !n.Blobs.Holds(o.job, o.blob.Digest) {
			t.Errorf("with one other copy: %v", err)
		}
		o.on(who[0])
		o.within(3*time.Minute, "it is back", func() bool { return reachable(n, o.nodes[who[0]], o.nodes[who[2]]) })
		if err := n.letGo(o.t.Context(), e); err != nil || n.Blobs.Has(o.blob.Digest) {
			t.Errorf("with two others: %v", err)
		}
	})
}

// TestTrim: when a PC is back and there is a copy too many, the one goes that belongs elsewhere.
func TestTrim(t *testing.T) {
	inOffice(t, 5, [2]int{11, 0}, func(o *office) {
		who := o.place()
		extra := slices.IndexFunc(o.nodes, func(n *Node) bool { return !n.Blobs.Holds(o.job, o.blob.Digest) })
		o.must(o.nodes[extra].Blobs.Put(blobs.For(o.job), o.blob, bytes.NewReader(o.data)))
		o.neglect(append(who, extra))
		o.within(10*time.Minute, "three copies", func() bool { return len(o.holders()) == 3 })
		if got := o.holders(); !slices.Equal(got, slices.Sorted(slices.Values(who))) {
			t.Errorf("%v have it, not %v", got, who)
		}
	})
}

// small starts the first node again, with a quota, and waits until others reach it.
func (o *office) small(quota int64) *Node {
	o.t.Helper()
	o.off(0)
	o.quota = quota
	o.on(0)
	n := o.nodes[0]
	o.within(time.Minute, "it is reachable", func() bool { return reachable(n) })
	return n
}

// TestRoomIsMade: on a disk that gets full others' checkpoints go, and no pack of this peer's own.
func TestRoomIsMade(t *testing.T) {
	inOffice(t, 1, [2]int{11, 0}, func(o *office) {
		n := o.small(10 << 20)
		put := func(c blobs.Claim, name string) jobs.Blob {
			data := bytes.Repeat([]byte(name), 1<<20/len(name))
			b := jobs.Blob{Digest: jobs.DigestOf(data), Size: int64(len(data))}
			o.must(n.Blobs.Put(c, b, bytes.NewReader(data)))
			return b
		}
		var own, theirs []jobs.Blob
		for i := range 5 {
			own = append(own, put(blobs.Claim{Job: o.job, Kind: blobs.Own}, fmt.Sprintf("own %d", i)))
			c := blobs.Claim{Job: o.job, Kind: blobs.Checkpoint, Author: jobs.AgentID{9, byte(i)}, Unit: uint64(i)}
			theirs = append(theirs, put(c, fmt.Sprintf("checkpoint %d", i)))
			time.Sleep(time.Second)
		}
		o.within(3*time.Minute, "there is room", func() bool { return n.Blobs.Room() >= 15<<20/10 })
		for i, b := range own {
			if !n.Blobs.Has(b.Digest) || n.Blobs.Has(theirs[i].Digest) != (i >= 2) {
				t.Errorf("pack %d: %v, checkpoint: %v", i, n.Blobs.Has(b.Digest), n.Blobs.Has(theirs[i].Digest))
			}
		}
	})
}

// TestP6QuotaShrinks: with less room, or none at all, what others have goes within minutes and nothing else comes; the last
// copies stay.
func TestP6QuotaShrinks(t *testing.T) {
	for name, quota := range map[string]int64{"less": 4 << 20, "none": 1} {
		t.Run(name, func(t *testing.T) {
			inOffice(t, 4, [2]int{11, 0}, func(o *office) {
				who := o.place()
				extra := slices.IndexFunc(o.nodes, func(n *Node) bool { return !n.Blobs.Holds(o.job, o.blob.Digest) })
				n := o.nodes[extra]
				last := bytes.Repeat([]byte("nobody else has it"), 1<<18)
				b := jobs.Blob{Digest: jobs.DigestOf(last), Size: int64(len(last))}
				cached := blobs.Claim{Job: o.job, Kind: blobs.Cached}
				o.must(errors.Join(n.Blobs.Put(cached, b, bytes.NewReader(last)), n.Blobs.Put(cached, o.blob, bytes.NewReader(o.data))))
				o.within(3*time.Minute, "others are reachable", func() bool { return reachable(n, o.nodes[who[0]], o.nodes[who[1]], o.nodes[who[2]]) })
				n.Blobs.SetQuota(quota)
				o.within(3*time.Minute, "what others have is gone", func() bool { return !n.Blobs.Has(o.blob.Digest) })
				time.Sleep(time.Hour)
				if !n.Blobs.Has(b.Digest) || n.Blobs.Room() >= b.Size {
					t.Errorf("the last copy is here: %v, and %d bytes are free", n.Blobs.Has(b.Digest), n.Blobs.Room())
				}
				if err := n.Blobs.Put(cached, o.blob, bytes.NewReader(o.data)); jobs.KindOf(err) != jobs.Exhausted {
					t.Errorf("it comes again: %v", err)
				}
				n.Blobs.SetQuota(0)
				o.must(n.Blobs.Put(cached, o.blob, bytes.NewReader(o.data)))
			})
		})
	}
}

// TestRoomIsMadeAtOnce: a blob that comes when the quota is full takes the place of others' checkpoints there and then,
// and no place of what nobody else has.
func TestRoomIsMadeAtOnce(t *testing.T) {
	inOffice(t, 1, [2]int{11, 0}, func(o *office) {
		n := o.small(10 << 20)
		put := func(c blobs.Claim, name string, mib int) error {
			data := bytes.Repeat([]byte(name), mib<<20/len(name))
			return n.Blobs.Put(c, jobs.Blob{Digest: jobs.DigestOf(data), Size: int64(len(data))}, bytes.NewReader(data))
		}
		theirs := blobs.Claim{Job: o.job, Kind: blobs.Checkpoint, Author: jobs.AgentID{9}}
		own := blobs.Claim{Job: o.job, Kind: blobs.Own}
		o.must(errors.Join(put(theirs, "their checkpoint", 2), put(own, "one's own", 7)))
		begun := time.Now()
		o.must(put(own, "another", 2))
		if n.Blobs.Usage().Blobs != 2 || time.Since(begun) > roomTimeout {
			t.Errorf("%d blobs are here, after %v", n.Blobs.Usage().Blobs, time.Since(begun))
		}
		if err := put(own, "a third", 2); jobs.KindOf(err) != jobs.Exhausted || n.Blobs.Usage().Blobs != 2 {
			t.Errorf("where nothing may go: %v, %d blobs are here", err, n.Blobs.Usage().Blobs)
		}
		o.must(n.Blobs.Drop(func(_ jobs.Digest, c blobs.Claim) bool { return c == own })) // so that checkpoints fit
		o.must(errors.Join(put(own, "again", 8), put(theirs, "their next one", 2)))
		if err := put(own, "too soon", 2); jobs.KindOf(err) != jobs.Exhausted {
			t.Errorf("right after a try that was of no use there is another: %v", err)
		}
		time.Sleep(roomRest)
		o.must(put(own, "now", 2))
	})
}

// TestP11CheckpointsOfOneSubmitter: another agent's checkpoints take a quarter of a holder's disk, those of a submitter's
// jobs a half of it; the author hears why no more are taken.
func TestP11CheckpointsOfOneSubmitter(t *testing.T) {
	inOffice(t, 2, [2]int{11, 0}, func(o *office) {
		o.off(1)
		o.quota = 16 << 20
		o.on(1)
		author, holder := o.nodes[0], o.nodes[1]
		o.within(3*time.Minute, "both are reachable", func() bool { return reachable(author, holder) })
		data := make([]byte, 2<<20)
		save := func(unit uint64) error {
			data[0] = byte(unit)
			b := jobs.Blob{Digest: jobs.DigestOf(data), Size: int64(len(data))}
			u := jobs.UnitID{Job: o.job, Unit: unit}
			o.must(author.Blobs.Put(author.Client.OwnCheckpoint(u), b, bytes.NewReader(data)))
			_, err := author.Client.PlaceCheckpoint(o.t.Context(), blobs.Parts{Unit: u, Blobs: []jobs.Blob{b}}, author.Members())
			return err
		}
		o.must(errors.Join(save(0), save(1)))
		if err := save(2); err == nil || !strings.Contains(err.Error(), "checkpoints of agent "+author.ID().Short()) {
			t.Errorf("a third of an author: %v", err)
		}
		other := blobs.Claim{Job: o.job, Kind: blobs.Checkpoint, Author: jobs.AgentID{9}}
		put := func(name byte) error {
			data[0] = name
			return holder.Blobs.Put(other, jobs.Blob{Digest: jobs.DigestOf(data), Size: int64(len(data))}, bytes.NewReader(data))
		}
		o.must(errors.Join(put('a'), put('b')))
		other.Author = jobs.AgentID{8}
		if err := put('c'); err == nil || !strings.Contains(err.Error(), "for submitter") {
			t.Errorf("a fifth of a submitter: %v", err)
		}
	})
}

// TestAbandonedCheckpointsGo: 120 h after the last one of a unit its checkpoints go.
func TestAbandonedCheckpointsGo(t *testing.T) {
	inOffice(t, 1, [2]int{11, 0}, func(o *office) {
		n := o.nodes[0]
		c := blobs.Claim{Job: o.job, Kind: blobs.Checkpoint, Author: jobs.AgentID{9}}
		o.must(n.Blobs.Put(c, o.blob, bytes.NewReader(o.data)))
		o.off(0)
		refs, err := filepath.Glob(filepath.Join(o.states[0], blobsFolder, "refs", "*"))
		o.must(err)
		old := time.Now().Add(2*time.Hour - blobs.CheckpointTerm)
		for _, name := range refs {
			o.must(os.Chtimes(name, old, old))
		}
		o.on(0)
		n = o.nodes[0]
		time.Sleep(90 * time.Minute)
		if !n.Blobs.Has(o.blob.Digest) {
			t.Error("gone too early")
		}
		time.Sleep(2 * time.Hour)
		if n.Blobs.Has(o.blob.Digest) {
			t.Error("still here")
		}
	})
}

// report has the first node report a unit, as its report of that number, with a pack that it has and receipts of others.
// It returns who of those who are on have the pack.
func (o *office) report(counter uint64, data []byte, receipts ...*Node) (have func() []int) {
	o.t.Helper()
	pack := jobs.Blob{Digest: jobs.DigestOf(data), Size: int64(len(data))}
	author := o.nodes[0]
	o.must(author.Blobs.Put(blobs.Claim{Job: o.job, Kind: blobs.Own}, pack, bytes.NewReader(data)))
	report := record.Report{
		Job: o.job, Author: author.ID(), Counter: counter, Runtime: "r 1", Platform: "linux/amd64", Pack: pack,
		Bundles: []record.BundleReport{{Units: []record.UnitReport{{Outcome: jobs.DigestOf(nil)}}}},
	}
	offer := records.Offer{Chains: [][][]byte{author.Identity().Chain}}
	offer.Envelope = record.Sign(record.TypeReport, report.Encode(), author.Identity().Key)
	for _, n := range receipts {
		r := record.Receipt{Holder: n.ID(), Blob: pack, Job: o.job}
		offer.Receipts = append(offer.Receipts, record.Sign(record.TypeReceipt, r.Encode(), n.Identity().Key))
		offer.Chains = append(offer.Chains, n.Identity().Chain)
	}
	_, refused, err := author.Store.Add(o.t.Context(), []records.Offer{offer}, false)
	if err != nil || len(refused) > 0 {
		o.t.Fatal(refused, err)
	}
	return func() (list []int) {
		for i, n := range o.nodes {
			if n != nil && n.Blobs.Holds(o.job, pack.Digest) {
				list = append(list, i)
			}
		}
		return list
	}
}

// TestI16OldReceipts: who becomes a shard's first steward asks those whom receipts name whether they still have the pack.
func TestI16OldReceipts(t *testing.T) {
	inOffice(t, 6, [2]int{11, 0}, func(o *office) {
		have := o.report(1, []byte("pack"), o.nodes[1], o.nodes[2])
		o.within(10*time.Minute, "two copies are online", func() bool { return len(have()) >= 2 })
	})
}

// TestI16ManyAtOnce: however many blobs turn out to have lost their copies at once, the budget is used to make up for all.
func TestI16ManyAtOnce(t *testing.T) {
	inOffice(t, 6, [2]int{11, 0}, func(o *office) {
		var packs []func() []int
		for i := range uint64(40) {
			packs = append(packs, o.report(1+i, bytes.Repeat([]byte{byte(i)}, 100_000), o.nodes[1], o.nodes[2]))
		}
		few := func() bool {
			return slices.ContainsFunc(packs, func(have func() []int) bool { return len(have()) < 2 })
		}
		if !few() {
			t.Fatal("nothing is to be repaired")
		}
		o.within(10*time.Minute, "two copies of each are online", func() bool { return !few() })
	})
}

// TestPacksAreRepaired: the pack of a report that lost its holders is given to another, who signs for it.
func TestPacksAreRepaired(t *testing.T) {
	inOffice(t, 5, [2]int{11, 0}, func(o *office) {
		have := o.report(1, []byte("pack"))
		o.within(5*time.Minute, "the holders have the pack", func() bool { return len(have()) >= 2 })
		for _, i := range have() {
			if i != 0 && len(have()) > 1 {
				o.off(i)
			}
		}
		o.within(10*time.Minute, "two copies are online", func() bool { return len(have()) >= 2 })
	})
}
