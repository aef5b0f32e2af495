package blobs_test

import (
	"bytes"
	"fmt"
	"testing"
	"time"

	"idlegrid/agent/peer"
	"idlegrid/agent/peer/blobs"
	"idlegrid/agent/peer/blobs/blobstest"
	"idlegrid/jobs"
	"idlegrid/jobs/record"
	gridv1 "idlegrid/proto/grid/v1"
)

var unit = jobs.UnitID{Job: job, Unit: 7}

// office makes members that may hold blobs.
func office(nodes ...*node) []peer.Member {
	list := members(nodes...)
	for i := range list {
		list[i].Role, list[i].Class, list[i].Reachable = peer.Agent, peer.Office, true
	}
	return list
}

// checkpointer is an agent that runs a unit.
type checkpointer struct {
	*node
	client *blobs.Client
}

// saves stores parts of a checkpoint here.
func (c *checkpointer) saves(t *testing.T, parts ...string) []jobs.Blob {
	t.Helper()
	var list []jobs.Blob
	for _, data := range parts {
		b := blobstest.BlobOf([]byte(data))
		if err := c.store.Put(c.client.OwnCheckpoint(unit), b, bytes.NewReader([]byte(data))); err != nil {
			t.Fatal(err)
		}
		list = append(list, b)
	}
	return list
}

func digests(list []jobs.Blob) []jobs.Digest {
	var out []jobs.Digest
	for _, b := range list {
		out = append(out, b.Digest)
	}
	return out
}

// expectHeld compares what a store has.
func expectHeld(t *testing.T, who string, s blobs.Store, want ...jobs.Blob) {
	t.Helper()
	got := s.List()
	for _, b := range want {
		if !s.Holds(job, b.Digest) {
			t.Errorf("%s lacks one of %d bytes", who, b.Size)
		}
	}
	if len(got) != len(want) {
		t.Errorf("%s has %d blobs, expected %d", who, len(got), len(want))
	}
}

// TestPlaceCheckpoint: two others have all parts, a base is given once, and what is no longer needed goes.
func TestPlaceCheckpoint(t *testing.T) {
	inBubble(t, func(t *testing.T, n *network) {
		self, client := n.client(0)
		c := &checkpointer{self, client}
		a, z := n.honest("a"), n.honest("z")
		all := office(self, a, z)
		first := c.saves(t, "base", "one")
		receipts, err := client.PlaceCheckpoint(t.Context(), blobs.Parts{Unit: unit, Blobs: first}, all)
		if err != nil || len(receipts) != 4 {
			t.Fatalf("%d receipts, %v", len(receipts), err)
		}
		for _, b := range first {
			found := 0
			for _, p := range []*node{a, z} {
				for _, e := range receipts {
					if blobs.CheckReceipt(e, record.Receipt{Holder: p.ID, Blob: b, Job: job}) == nil {
						found++
					}
				}
			}
			if found != 2 {
				t.Errorf("%d receipts for a part", found)
			}
		}
		// The second keeps the first, its base does not travel.
		second := c.saves(t, "base", "second")
		if err := self.store.Drop(func(d jobs.Digest, _ blobs.Claim) bool { return d == second[0].Digest }); err != nil {
			t.Fatal(err) // nothing to send
		}
		receipts, err = client.PlaceCheckpoint(t.Context(), blobs.Parts{Unit: unit, Blobs: second, Keep: digests(first), Receipts: receipts}, all)
		if err != nil || len(receipts) != 4 {
			t.Fatalf("%d receipts, %v", len(receipts), err)
		}
		for name, p := range map[string]*node{"a": a, "z": z} {
			expectHeld(t, name, p.store, first[0], first[1], second[1])
		}
		// A holder that lost the base gets it again.
		c.saves(t, "base")
		if err := a.store.Delete(first[0].Digest); err != nil {
			t.Fatal(err)
		}
		third := c.saves(t, "base", "the third")
		_, err = client.PlaceCheckpoint(t.Context(), blobs.Parts{Unit: unit, Blobs: third, Keep: digests(second), Receipts: receipts}, all)
		if err != nil {
			t.Fatal(err)
		}
		for name, s := range map[string]blobs.Store{"a": a.store, "z": z.store, "self": self.store} {
			expectHeld(t, name, s, third[0], second[1], third[1])
		}
		if err := client.Release(t.Context(), job, []uint64{unit.Unit}, all); err != nil {
			t.Fatal(err)
		}
		for name, s := range map[string]blobs.Store{"a": a.store, "z": z.store, "self": self.store} {
			expectHeld(t, name, s)
		}
	})
}

// TestPlaceCheckpointElsewhere: the next choices are asked where the first are off, and this peer itself keeps it
// where nobody else is.
func TestPlaceCheckpointElsewhere(t *testing.T) {
	inBubble(t, func(t *testing.T, n *network) {
		self, client := n.client(0)
		c := &checkpointer{self, client}
		parts := blobs.Parts{Unit: unit, Blobs: c.saves(t, "base", "changes")}
		nodes := []*node{self}
		for i := range 2 {
			nodes = append(nodes, n.honest(fmt.Sprint("here", i)), n.node(fmt.Sprint("off", i)))
		}
		receipts, err := client.PlaceCheckpoint(t.Context(), parts, office(nodes...))
		if err != nil || len(receipts) != 4 {
			t.Errorf("%d receipts, %v", len(receipts), err)
		}
		receipts, err = client.PlaceCheckpoint(t.Context(), parts, office(self))
		if err != nil || len(receipts) != 2 {
			t.Errorf("alone: %d receipts, %v", len(receipts), err)
		}
		_, err = client.PlaceCheckpoint(t.Context(), parts, office(self, n.node("off")))
		expectKind(t, err, jobs.Unavailable)
		expectHeld(t, "self", self.store, parts.Blobs...)
	})
}

// TestPlaceCheckpointDoesNotWait: a first choice that says nothing keeps a checkpoint, and those that follow, for
// seconds, and another has it instead.
func TestPlaceCheckpointDoesNotWait(t *testing.T) {
	inBubble(t, func(t *testing.T, n *network) {
		self, client := n.client(0)
		c := &checkpointer{self, client}
		a, z := n.honest("a"), n.honest("z")
		silent := func(s gridv1.Blobs_PutServer) (*gridv1.PutReply, error) {
			<-s.Context().Done()
			return nil, s.Context().Err()
		}
		var slow *node
		for i := 0; ; i++ {
			name := fmt.Sprint("slow", i)
			if first := peer.CheckpointHolders(unit, office(a, z, n.node(name)), 2); first[0].Address == name {
				slow = n.fake(name, &fake{put: silent})
				break
			}
		}
		start := time.Now()
		parts := blobs.Parts{Unit: unit, Blobs: c.saves(t, "base", "changes")}
		receipts, err := client.PlaceCheckpoint(t.Context(), parts, office(self, slow, a, z))
		if err != nil || len(receipts) != 4 {
			t.Errorf("%d receipts, %v", len(receipts), err)
		}
		if took := time.Since(start); took < blobs.MinGrace || took > blobs.MinGrace+time.Second {
			t.Errorf("it took %s", took)
		}
		expectHeld(t, "a", a.store, parts.Blobs...)
		expectHeld(t, "z", z.store, parts.Blobs...)
	})
}

// TestReleaseIsForOnesOwn: no author takes away what another put, a job, or another unit needs.
func TestReleaseIsForOnesOwn(t *testing.T) {
	inBubble(t, func(t *testing.T, n *network) {
		p := n.honest("p")
		mine, theirs := jobs.KeyID{1}, jobs.KeyID{2}
		data := map[string][]byte{}
		put := func(name string, c blobs.Claim) {
			data[name] = []byte(name)
			if err := p.store.Put(c, blobstest.BlobOf(data[name]), bytes.NewReader(data[name])); err != nil {
				t.Fatal(err)
			}
		}
		checkpoint := func(author jobs.KeyID, unit uint64) blobs.Claim {
			return blobs.Claim{Job: job, Kind: blobs.Checkpoint, Author: author, Unit: unit}
		}
		put("mine", checkpoint(mine, 7))
		put("mine of another unit", checkpoint(mine, 8))
		put("another's", checkpoint(theirs, 7))
		put("both", checkpoint(mine, 7))
		put("both", checkpoint(theirs, 7))
		put("program", blobs.For(job))
		put("program", checkpoint(mine, 7))
		for range 2 {
			if _, err := n.raw(p).Release(t.Context(), &gridv1.ReleaseRequest{Job: job[:], Units: []uint64{7, 9}}); err != nil {
				t.Fatal(err)
			}
		}
		for name := range data {
			if got := p.store.Has(blobstest.BlobOf(data[name]).Digest); got != (name != "mine") {
				t.Errorf("%s: here %v", name, got)
			}
		}
		for _, bad := range []*gridv1.ReleaseRequest{{}, {Job: job[:3]}, {Job: job[:], Units: make([]uint64, blobs.MaxRelease+1)}} {
			_, err := n.raw(p).Release(t.Context(), bad)
			expectKind(t, err, jobs.Invalid)
		}
		p.rules.allow = jobs.Errorf(jobs.Denied, "no")
		_, err := n.raw(p).Release(t.Context(), &gridv1.ReleaseRequest{Job: job[:], Units: []uint64{8}})
		expectKind(t, err, jobs.Denied)
	})
}

// TestCheckpointsAreBounded: whatever an author puts, of a unit it has no more than it may keep.
func TestCheckpointsAreBounded(t *testing.T) {
	inBubble(t, func(t *testing.T, n *network) {
		p := n.honest("p")
		var keep [][]byte
		for i := range 5 * blobs.MaxKeep {
			b := blobstest.BlobOf([]byte{byte(i)})
			h := header(job, b)
			h.Header.Kind, h.Header.Unit, h.Header.Keep = gridv1.BlobKind_BLOB_KIND_CHECKPOINT, 7, keep[max(0, len(keep)-blobs.MaxKeep):]
			stream, err := n.raw(p).Put(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			for _, m := range []*gridv1.PutRequest{h, {Data: []byte{byte(i)}}} {
				if err := stream.Send(m); err != nil {
					t.Fatal(err)
				}
			}
			if _, err := stream.CloseAndRecv(); err != nil {
				t.Fatal(err)
			}
			keep = append(keep, b.Digest[:])
		}
		if got := len(p.store.List()); got != blobs.MaxKeep+1 {
			t.Errorf("%d blobs are kept of one unit", got)
		}
	})
}
