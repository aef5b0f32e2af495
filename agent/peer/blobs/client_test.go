package blobs_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"

	"idlegrid/agent/peer"
	"idlegrid/agent/peer/blobs"
	"idlegrid/agent/peer/blobs/blobstest"
	"idlegrid/jobs"
	"idlegrid/jobs/record"
	gridv1 "idlegrid/proto/grid/v1"
)

// content is larger than a chunk, so that a transfer can break in its middle.
var content = bytes.Repeat([]byte("blob of a job. "), 30_000)

// Whatever a peer does, the next one is asked, and only the right bytes are kept (P6).
func TestFetchFallsToTheNext(t *testing.T) {
	b := blobstest.BlobOf(content)
	flipped := bytes.Clone(content)
	flipped[len(flipped)/2] ^= 4
	for _, test := range []struct {
		name string
		get  func(gridv1.Blobs_GetServer) error // nil: nobody listens
	}{
		{"is off", nil},
		{"has not got it", func(gridv1.Blobs_GetServer) error { return jobs.Errorf(jobs.NotFound, "not here") }},
		{"breaks off", func(s gridv1.Blobs_GetServer) error {
			return errors.Join(sends(false, content[:1000])(s), jobs.Errorf(jobs.Internal, "disk"))
		}},
		{"gives other bytes", sends(false, flipped)},
		{"gives too few", sends(false, content[:len(content)-1])},
		{"gives none", sends(false)},
		{"gives too many", sends(false, content, []byte("x"))},
		{"never ends", sends(true, content, content, content)},
		{"says nothing", sends(true)},
		{"stops in the middle", sends(true, content[:1000])},
		{"gives empty messages", sends(false, nil, content)},
	} {
		t.Run(test.name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, n *network) {
				bad := n.node("bad")
				if test.get != nil {
					n.fake("bad", &fake{get: test.get})
				}
				good := n.honest("good")
				blobstest.Put(t, good.store, job, content)
				self, c := n.client(0)
				expectKind(t, c.Fetch(t.Context(), blobs.For(job), b, members(bad)), kindWhen(test.name))
				if self.store.Has(b.Digest) {
					t.Error("wrong bytes were kept")
				}
				if err := c.Fetch(t.Context(), blobs.For(job), b, members(self, bad, good)); err != nil {
					t.Fatal(err)
				}
				if !self.store.Holds(job, b.Digest) || self.store.Verify(b.Digest) != nil {
					t.Error("the blob is not here")
				}
			})
		})
	}
}

// kindWhen is the kind of Fetch's error when that is all that the only peer does.
func kindWhen(name string) jobs.ErrorKind {
	if name == "has not got it" {
		return jobs.NotFound
	}
	return jobs.Unavailable
}

func TestFetchLeavesABadPeerAlone(t *testing.T) {
	inBubble(t, func(t *testing.T, n *network) {
		f := &fake{get: sends(false, []byte("rubbish"))}
		bad := n.fake("bad", f)
		_, c := n.client(0)
		b := blobstest.BlobOf(content)
		for range blobs.MaxStrikes + 2 {
			expectKind(t, c.Fetch(t.Context(), blobs.For(job), b, members(bad)), jobs.Unavailable)
		}
		if f.gets != blobs.MaxStrikes {
			t.Errorf("asked %d times, expected %d", f.gets, blobs.MaxStrikes)
		}
		time.Sleep(blobs.StrikeTerm)
		f.get = sends(false, content)
		if err := c.Fetch(t.Context(), blobs.For(job), b, members(bad)); err != nil {
			t.Errorf("an hour later: %v", err)
		}
	})
}

func TestFetchAsksOnce(t *testing.T) {
	inBubble(t, func(t *testing.T, n *network) {
		f := &fake{get: func(s gridv1.Blobs_GetServer) error {
			time.Sleep(time.Second)
			return sends(false, content)(s)
		}}
		p := n.fake("p", f)
		self, c := n.client(0)
		b := blobstest.BlobOf(content)
		var group sync.WaitGroup
		for i := range 10 {
			group.Go(func() {
				if err := c.Fetch(t.Context(), blobs.For(blobstest.Job(i%2)), b, members(p)); err != nil {
					t.Error(err)
				}
			})
		}
		group.Wait()
		if f.gets != 1 {
			t.Errorf("ten fetches of one blob asked %d times", f.gets)
		}
		if !self.store.Holds(blobstest.Job(0), b.Digest) || !self.store.Holds(blobstest.Job(1), b.Digest) {
			t.Error("the blob is not kept for both jobs")
		}
	})
}

// TestFetchWaitsForABusyPeer: who has too many readers is asked again, and until then others are.
func TestFetchWaitsForABusyPeer(t *testing.T) {
	inBubble(t, func(t *testing.T, n *network) {
		f := &fake{}
		f.get = func(s gridv1.Blobs_GetServer) error {
			if f.gets < 5 {
				return jobs.Errorf(jobs.Exhausted, "busy")
			}
			return sends(false, content)(s)
		}
		busy, lacks := n.fake("busy", f), n.honest("lacks")
		self, c := n.client(0)
		b := blobstest.BlobOf(content)
		if err := c.Fetch(t.Context(), blobs.For(job), b, members(busy, lacks)); err != nil || !self.store.Has(b.Digest) {
			t.Errorf("a peer that was busy four times: %v", err)
		}
		never := n.fake("never", &fake{get: func(gridv1.Blobs_GetServer) error { return jobs.Errorf(jobs.Exhausted, "busy") }})
		began := time.Now()
		expectKind(t, c.Fetch(t.Context(), blobs.For(job), blobstest.BlobOf([]byte("other")), members(never)), jobs.Unavailable)
		if took := time.Since(began); took < time.Minute || took > 10*time.Minute {
			t.Errorf("gave up after %v", took)
		}
	})
}

// TestALargeBlobHasFewReaders: the third reader at once is sent elsewhere, and comes back when one is done.
func TestALargeBlobHasFewReaders(t *testing.T) {
	inBubble(t, func(t *testing.T, n *network) {
		p := n.honest("p")
		p.rules.crowd = true
		large := blobstest.Put(t, p.store, job, make([]byte, blobs.LargeBlob))
		small := blobstest.Put(t, p.store, job, make([]byte, blobs.LargeBlob-1))
		open := func(b jobs.Blob) (gridv1.Blobs_GetClient, context.CancelFunc, error) {
			ctx, cancel := context.WithCancel(t.Context())
			stream, err := n.raw(p).Get(ctx, &gridv1.GetRequest{Job: job[:], Digest: b.Digest[:]})
			if err != nil {
				t.Fatal(err)
			}
			_, err = stream.Recv()
			return stream, cancel, err
		}
		var stop context.CancelFunc
		for range blobs.MaxReaders {
			_, cancel, err := open(large)
			if err != nil {
				t.Fatal(err)
			}
			defer cancel()
			stop = cancel
		}
		_, cancel, err := open(large)
		defer cancel()
		expectKind(t, err, jobs.Exhausted)
		for range 2 * blobs.MaxReaders {
			_, cancel, err := open(small)
			defer cancel()
			if err != nil {
				t.Errorf("a small blob: %v", err)
			}
		}
		stop()
		synctest.Wait()
		_, cancel, err = open(large)
		defer cancel()
		if err != nil {
			t.Errorf("when one was done: %v", err)
		}
	})
}

func TestFetchKeepsToAFewTransfersAPeer(t *testing.T) {
	inBubble(t, func(t *testing.T, n *network) {
		p := n.honest("p")
		_, c := n.client(0)
		var group sync.WaitGroup
		for i := range 40 {
			b := blobstest.Put(t, p.store, job, bytes.Repeat([]byte{byte(i)}, 100_000))
			group.Go(func() {
				if err := c.Fetch(t.Context(), blobs.For(job), b, members(p)); err != nil {
					t.Error(err)
				}
			})
		}
		group.Wait()
	})
}

func TestFetchLocalFaults(t *testing.T) {
	inBubble(t, func(t *testing.T, n *network) {
		f := &fake{get: sends(false, content)}
		p := n.fake("p", f)
		_, c := n.client(int64(len(content)) - 1)
		b := blobstest.BlobOf(content)
		expectKind(t, c.Fetch(t.Context(), blobs.For(job), b, members(p, p, p)), jobs.Exhausted)
		if f.gets > 1 {
			t.Errorf("a full store made it ask %d peers", f.gets)
		}
		expectKind(t, c.Fetch(t.Context(), blobs.For(jobs.JobID{}), b, members(p)), jobs.Invalid)
		expectKind(t, c.Fetch(t.Context(), blobs.For(job), b, nil), jobs.NotFound)
		itself := &fake{get: sends(false)}
		expectKind(t, c.Fetch(t.Context(), blobs.For(job), b, members(n.fake("self", itself))), jobs.NotFound)
		if itself.gets > 0 {
			t.Error("it asked itself")
		}
	})
}

func TestFetchIsCancelled(t *testing.T) {
	inBubble(t, func(t *testing.T, n *network) {
		silent := n.fake("silent", &fake{get: sends(true)})
		good := n.honest("good")
		b := blobstest.Put(t, good.store, job, content)
		_, c := n.client(0)
		stop := errors.New("the owner is back")
		ctx, cancel := context.WithCancelCause(t.Context())
		time.AfterFunc(time.Second, func() { cancel(stop) })
		start := time.Now()
		var group sync.WaitGroup
		for range 2 { // the second waits for the first
			group.Go(func() {
				if err := c.Fetch(ctx, blobs.For(job), b, members(silent, good)); !errors.Is(err, stop) {
					t.Errorf("a cancelled fetch returned %v", err)
				}
			})
		}
		group.Wait()
		if took := time.Since(start); took > 2*time.Second {
			t.Errorf("it took %v", took)
		}
	})
}

func TestReplicate(t *testing.T) {
	inBubble(t, func(t *testing.T, n *network) {
		self, c := n.client(0)
		a, z, off := n.honest("a"), n.honest("z"), n.node("off")
		b := blobstest.Put(t, self.store, job, content)
		receipts, err := c.Replicate(t.Context(), blobs.For(job), b, members(off, a, self, z), 3)
		if err != nil {
			t.Fatal(err)
		}
		expectReceipts(t, receipts, b, a, self, z)
		if !a.store.Holds(job, b.Digest) || !z.store.Holds(job, b.Digest) {
			t.Error("a holder has not got it")
		}
		receipts, err = c.Replicate(t.Context(), blobs.For(job), b, members(off, a, self), 3)
		expectKind(t, err, jobs.Unavailable)
		expectReceipts(t, receipts, b, a, self)
		receipts, err = c.Replicate(t.Context(), blobs.For(job), b, members(self), 1)
		if err != nil {
			t.Error(err)
		}
		expectReceipts(t, receipts, b, self)
		_, err = c.Replicate(t.Context(), blobs.For(otherJob), b, members(a), 1)
		expectKind(t, err, jobs.NotFound)
	})
}

// TestPlace: of the six first choices at most four are off, so whatever the order, two that are there take it.
func TestPlace(t *testing.T) {
	inBubble(t, func(t *testing.T, n *network) {
		self, c := n.client(0)
		var all []peer.Member
		for i := range 4 {
			all = append(all, members(n.honest(fmt.Sprint("here", i)), n.node(fmt.Sprint("off", i)))...)
		}
		for i := range all {
			all[i].Role, all[i].Class, all[i].Reachable = peer.Agent, peer.Office, true
		}
		b := blobstest.Put(t, self.store, job, content)
		receipts, err := c.Place(t.Context(), blobs.For(job), b, all)
		if err != nil || len(receipts) < 2 {
			t.Errorf("%d receipts, %v", len(receipts), err)
		}
		_, err = c.Place(t.Context(), blobs.For(job), b, nil)
		expectKind(t, err, jobs.Unavailable)
	})
}

func expectReceipts(t *testing.T, receipts []record.Envelope, b jobs.Blob, from ...*node) {
	t.Helper()
	if len(receipts) != len(from) {
		t.Errorf("%d receipts, expected %d", len(receipts), len(from))
	}
	for _, p := range from {
		found := 0
		for _, e := range receipts {
			if blobs.CheckReceipt(e, record.Receipt{Holder: p.ID, Blob: b, Job: job}) == nil {
				found++
			}
		}
		if found != 1 {
			t.Errorf("%d receipts of %s", found, p.Address)
		}
	}
}

// Each of these answers a Put with something that is no receipt of its own for this blob and job.
func TestReplicateRefusesFalseReceipts(t *testing.T) {
	b := blobstest.BlobOf(content)
	other := blobstest.BlobOf([]byte("other"))
	for _, test := range []struct {
		name   string
		answer func(p, stranger *node) record.Envelope
	}{
		{"for another blob", func(p, _ *node) record.Envelope {
			return receipt(p, record.Receipt{Holder: p.ID, Blob: other, Job: job})
		}},
		{"for another size", func(p, _ *node) record.Envelope {
			return receipt(p, record.Receipt{Holder: p.ID, Blob: jobs.Blob{Digest: b.Digest, Size: 1}, Job: job})
		}},
		{"for another job", func(p, _ *node) record.Envelope {
			return receipt(p, record.Receipt{Holder: p.ID, Blob: b, Job: otherJob})
		}},
		{"of a stranger", func(_, stranger *node) record.Envelope {
			return receipt(stranger, record.Receipt{Holder: stranger.ID, Blob: b, Job: job})
		}},
		{"signed by a stranger", func(p, stranger *node) record.Envelope {
			return receipt(stranger, record.Receipt{Holder: p.ID, Blob: b, Job: job})
		}},
		{"of another type", func(p, _ *node) record.Envelope {
			r := record.Receipt{Holder: p.ID, Blob: b, Job: job}
			return record.Sign(record.TypeSeal, r.Encode(), p.key)
		}},
		{"not signed", func(p, _ *node) record.Envelope {
			e := receipt(p, record.Receipt{Holder: p.ID, Blob: b, Job: job})
			e.Signatures[0].Sig[0] ^= 1
			return e
		}},
		{"of nothing", func(p, _ *node) record.Envelope { return record.Sign(record.TypeReceipt, []byte("x"), p.key) }},
		{"absent", func(*node, *node) record.Envelope { return record.Envelope{} }},
	} {
		t.Run(test.name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, n *network) {
				self, c := n.client(0)
				liar := n.node("liar")
				n.fake("liar", &fake{put: func(s gridv1.Blobs_PutServer) (*gridv1.PutReply, error) {
					return &gridv1.PutReply{Receipt: test.answer(liar, n.node("stranger")).ToProto()}, drain(s)
				}})
				blobstest.Put(t, self.store, job, content)
				receipts, err := c.Replicate(t.Context(), blobs.For(job), b, members(liar, self), 2)
				expectKind(t, err, jobs.Unavailable)
				expectReceipts(t, receipts, b, self)
			})
		})
	}
}

func receipt(p *node, r record.Receipt) record.Envelope {
	return record.Sign(record.TypeReceipt, r.Encode(), p.key)
}

// A holder that stands still costs a short wait when the others suffice, and is given up when they do not.
func TestReplicateStalls(t *testing.T) {
	for _, test := range []struct {
		name string
		put  func(gridv1.Blobs_PutServer) (*gridv1.PutReply, error)
	}{
		{"reads nothing", func(s gridv1.Blobs_PutServer) (*gridv1.PutReply, error) {
			<-s.Context().Done()
			return nil, s.Context().Err()
		}},
		{"answers nothing", func(s gridv1.Blobs_PutServer) (*gridv1.PutReply, error) {
			if err := drain(s); err != nil {
				return nil, err
			}
			<-s.Context().Done()
			return nil, s.Context().Err()
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, n *network) {
				self, c := n.client(0)
				slow, a := n.fake("slow", &fake{put: test.put}), n.honest("a")
				b := blobstest.Put(t, self.store, job, content)
				start := time.Now()
				receipts, err := c.Replicate(t.Context(), blobs.For(job), b, members(slow, a, self), 2)
				if err != nil {
					t.Error(err)
				}
				expectReceipts(t, receipts, b, a, self)
				if took := time.Since(start); took > blobs.MinGrace+time.Second {
					t.Errorf("two of two needed took %v", took)
				}
				start = time.Now()
				_, err = c.Replicate(t.Context(), blobs.For(job), b, members(slow, self), 2)
				expectKind(t, err, jobs.Unavailable)
				if took := time.Since(start); took > 3*blobs.MaxStall {
					t.Errorf("one of two needed took %v", took)
				}
			})
		})
	}
}

// gone is a connection to a peer that ends before a stream is open.
type gone struct{ grpc.ClientConnInterface }

func (gone) NewStream(context.Context, *grpc.StreamDesc, string, ...grpc.CallOption) (grpc.ClientStream, error) {
	return nil, jobs.Errorf(jobs.Unavailable, "error reading from server: %w", io.EOF)
}

// TestSendToAPeerThatEnds holds that the end of a connection is not taken for the end of a stream.
func TestSendToAPeerThatEnds(t *testing.T) {
	data := []byte("data")
	b := jobs.Blob{Digest: jobs.DigestOf(data), Size: int64(len(data))}
	if _, err := blobs.Send(t.Context(), blobs.Peer{Conn: gone{}}, jobs.JobID{1}, b, bytes.NewReader(data)); jobs.KindOf(err) != jobs.Unavailable {
		t.Errorf("sent to a peer that ends: %v", err)
	}
}
