package blobs_test

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"idlegrid/agent/peer/blobs"
	"idlegrid/agent/peer/blobs/blobstest"
	"idlegrid/jobs"
	"idlegrid/jobs/record"
	gridv1 "idlegrid/proto/grid/v1"
)

func TestSendAndGet(t *testing.T) {
	inBubble(t, func(t *testing.T, n *network) {
		p := n.honest("p")
		conn, err := n.Conn(p.Address, p.ID)
		if err != nil {
			t.Fatal(err)
		}
		for _, size := range []int{0, 1, blobs.ChunkSize - 1, blobs.ChunkSize, blobs.ChunkSize + 1, 3*blobs.ChunkSize + 7} {
			data := bytes.Repeat([]byte{byte(size), 'y', 1}, size/3+1)[:size]
			b := blobstest.BlobOf(data)
			receipt, err := blobs.Send(t.Context(), blobs.Peer{Conn: conn, ID: p.ID}, job, b, bytes.NewReader(data))
			if err != nil {
				t.Fatalf("%d bytes: %v", size, err)
			}
			if err := blobs.CheckReceipt(receipt, record.Receipt{Holder: p.ID, Blob: b, Job: job}); err != nil {
				t.Error(err)
			}
			got, err := get(t, n, p, job, b.Digest)
			if err != nil || !bytes.Equal(got, data) {
				t.Errorf("got %d bytes, %v; expected %d", len(got), err, size)
			}
		}
	})
}

// get reads a blob by the protocol itself.
func get(t *testing.T, n *network, p *node, job jobs.JobID, d jobs.Digest) ([]byte, error) {
	t.Helper()
	stream, err := n.raw(p).Get(t.Context(), &gridv1.GetRequest{Job: job[:], Digest: d[:]})
	if err != nil {
		t.Fatal(err)
	}
	var got []byte
	for {
		m, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return got, nil
		}
		if err != nil {
			return got, err
		}
		got = append(got, m.GetData()...)
	}
}

func TestGetRefuses(t *testing.T) {
	denied := jobs.Errorf(jobs.Denied, "no")
	here := blobstest.BlobOf([]byte("here")).Digest
	for _, test := range []struct {
		name   string
		rules  rules
		job    []byte
		digest []byte
		kind   jobs.ErrorKind
	}{
		{"a blob that is not here", rules{}, job[:], otherJob[:], jobs.NotFound},
		{"a blob of another job", rules{}, otherJob[:], here[:], jobs.NotFound},
		{"the wrong role", rules{allow: denied}, job[:], here[:], jobs.Denied},
		{"the wrong caller", rules{read: denied}, job[:], here[:], jobs.Denied},
		{"a cut job", rules{}, job[:31], here[:], jobs.Invalid},
		{"a cut digest", rules{}, job[:], here[:31], jobs.Invalid},
		{"nothing", rules{}, nil, nil, jobs.Invalid},
	} {
		t.Run(test.name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, n *network) {
				p := n.honest("p")
				p.rules = test.rules
				blobstest.Put(t, p.store, job, []byte("here"))
				stream, err := n.raw(p).Get(t.Context(), &gridv1.GetRequest{Job: test.job, Digest: test.digest})
				if err != nil {
					t.Fatal(err)
				}
				_, err = stream.Recv()
				expectKind(t, err, test.kind)
			})
		})
	}
}

// A flipped bit on a holder's disk changes nothing but the number of copies (P6).
func TestGetFindsAFlippedBit(t *testing.T) {
	inBubble(t, func(t *testing.T, n *network) {
		p := n.honest("p")
		b := blobstest.Put(t, p.store, job, []byte("will rot"))
		p.store.Flip(b.Digest)
		_, err := get(t, n, p, job, b.Digest)
		expectKind(t, err, jobs.Corrupt)
		if p.store.Has(b.Digest) {
			t.Error("the holder still claims the blob")
		}
	})
}

func TestHave(t *testing.T) {
	inBubble(t, func(t *testing.T, n *network) {
		p := n.honest("p")
		mine := blobstest.Put(t, p.store, job, []byte("mine")).Digest
		other := blobstest.Put(t, p.store, otherJob, []byte("other")).Digest
		reply, err := n.raw(p).Have(t.Context(), &gridv1.HaveRequest{Job: job[:], Digests: [][]byte{other[:], mine[:], job[:]}})
		if err != nil || len(reply.GetHave()) != 3 || reply.Have[0] || !reply.Have[1] || reply.Have[2] {
			t.Errorf("Have returned %v, %v", reply.GetHave(), err)
		}
		many := make([][]byte, blobs.MaxHave)
		for i := range many {
			many[i] = mine[:]
		}
		if _, err := n.raw(p).Have(t.Context(), &gridv1.HaveRequest{Job: job[:], Digests: many}); err != nil {
			t.Error(err)
		}
		for _, wrong := range []*gridv1.HaveRequest{
			{Job: job[:], Digests: append(many, mine[:])},
			{Job: job[:5], Digests: many},
			{Job: job[:], Digests: [][]byte{mine[:], nil}},
		} {
			_, err := n.raw(p).Have(t.Context(), wrong)
			expectKind(t, err, jobs.Invalid)
		}
		p.rules.read = jobs.Errorf(jobs.Denied, "no")
		_, err = n.raw(p).Have(t.Context(), &gridv1.HaveRequest{Job: job[:]})
		expectKind(t, err, jobs.Denied)
		p.rules.allow = jobs.Errorf(jobs.Expired, "no")
		_, err = n.raw(p).Have(t.Context(), &gridv1.HaveRequest{Job: job[:]})
		expectKind(t, err, jobs.Expired)
	})
}

func TestPutRefuses(t *testing.T) {
	good := []byte("0123456789")
	b := blobstest.BlobOf(good)
	data := func(s string) *gridv1.PutRequest { return &gridv1.PutRequest{Data: []byte(s)} }
	sized := func(size int64) *gridv1.PutRequest { return header(job, jobs.Blob{Digest: b.Digest, Size: size}) }
	both := header(job, b)
	both.Data = good
	type list = []*gridv1.PutRequest
	for _, test := range []struct {
		name     string
		messages list
		rules    rules
		kind     jobs.ErrorKind
	}{
		{"nothing at all", nil, rules{}, jobs.Invalid},
		{"an empty message", list{{}}, rules{}, jobs.Invalid},
		{"no header", list{data("0123456789")}, rules{}, jobs.Invalid},
		{"data in the header's message", list{both}, rules{}, jobs.Invalid},
		{"the header twice", list{header(job, b), header(job, b)}, rules{}, jobs.Invalid},
		{"a header between data", list{header(job, b), data("01234"), both}, rules{}, jobs.Invalid},
		{"a header without a blob", list{{Header: &gridv1.PutHeader{Job: job[:]}}}, rules{}, jobs.Invalid},
		{"a header without a job", list{{Header: &gridv1.PutHeader{Blob: record.BlobToProto(b)}}}, rules{}, jobs.Invalid},
		{"the zero job", list{header(jobs.JobID{}, b)}, rules{}, jobs.Invalid},
		{"a negative size", list{sized(-1)}, rules{}, jobs.Invalid},
		{"the largest size", list{sized(1<<63 - 1)}, rules{}, jobs.Invalid},
		{"more than the store has", list{sized(11)}, rules{}, jobs.Exhausted},
		{"messages without data", list{header(job, b), {}, {}}, rules{}, jobs.Invalid},
		{"too little", list{header(job, b), data("012345678")}, rules{}, jobs.Corrupt},
		{"no data", list{header(job, b)}, rules{}, jobs.Corrupt},
		{"too much", list{header(job, b), data("01234"), data("56789"), data("x")}, rules{}, jobs.Corrupt},
		{"far too much", list{header(job, b), data(strings.Repeat("0123456789", 100_000))}, rules{}, jobs.Corrupt},
		{"other bytes", list{header(job, b), data("0123456780")}, rules{}, jobs.Corrupt},
		{"a smaller size", list{sized(9), data("0123456789")}, rules{}, jobs.Corrupt},
		{"the wrong role", list{header(job, b)}, rules{allow: jobs.Errorf(jobs.Denied, "no")}, jobs.Denied},
		{"what the policy refuses", list{header(job, b)}, rules{write: jobs.Errorf(jobs.Exhausted, "no")}, jobs.Exhausted},
	} {
		t.Run(test.name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, n *network) {
				p := n.small("p", 10)
				p.rules = test.rules
				_, err := put(t, n, p, test.messages...)
				expectKind(t, err, test.kind)
				if list := p.store.List(); len(list) > 0 {
					t.Errorf("stored %v", list)
				}
				p.rules = rules{}
				if _, err := put(t, n, p, header(job, b), data("01234"), data("56789")); err != nil {
					t.Errorf("afterwards the right bytes gave %v", err)
				}
			})
		})
	}
}

// put sends messages as they are and returns the answer.
func put(t *testing.T, n *network, p *node, messages ...*gridv1.PutRequest) (*gridv1.PutReply, error) {
	t.Helper()
	stream, err := n.raw(p).Put(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range messages {
		if err := stream.Send(m); err != nil && !errors.Is(err, io.EOF) {
			t.Fatal(err)
		}
	}
	return stream.CloseAndRecv()
}

func TestPutOfAKnownBlob(t *testing.T) {
	inBubble(t, func(t *testing.T, n *network) {
		p := n.honest("p")
		content := &gridv1.PutRequest{Data: []byte("known")}
		b := blobstest.Put(t, p.store, job, content.Data)
		if _, err := put(t, n, p, header(job, b)); err != nil {
			t.Errorf("a blob that is kept for the job: %v", err)
		}
		_, err := put(t, n, p, header(otherJob, b))
		expectKind(t, err, jobs.Corrupt)
		if _, err := put(t, n, p, header(otherJob, b), content); err != nil || !p.store.Holds(otherJob, b.Digest) {
			t.Errorf("a blob that is kept for another job: %v", err)
		}
		p.store.Flip(b.Digest)
		_, err = put(t, n, p, header(job, b))
		expectKind(t, err, jobs.Corrupt)
		if _, err := put(t, n, p, header(job, b), content); err != nil {
			t.Errorf("a blob that had rotted: %v", err)
		}
		if err := p.store.Verify(b.Digest); err != nil {
			t.Error(err)
		}
	})
}

// Peers that open transfers and stand still hold a bounded number of places, and not for ever.
func TestPutStalls(t *testing.T) {
	for _, test := range []struct {
		name   string
		crowd  bool
		places int
	}{
		{"one peer", false, blobs.MaxCallerTransfers},
		{"many peers", true, blobs.MaxTransfers},
	} {
		t.Run(test.name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, n *network) {
				p := n.honest("p")
				p.rules.crowd = test.crowd
				testPutStalls(t, n, p, test.places)
			})
		})
	}
}

func testPutStalls(t *testing.T, n *network, p *node, places int) {
	b := blobstest.BlobOf([]byte("0123456789"))
	start := time.Now()
	streams := make([]gridv1.Blobs_PutClient, places)
	for i := range streams {
		stream, err := n.raw(p).Put(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if err := stream.Send(header(job, b)); err != nil {
			t.Fatal(err)
		}
		streams[i] = stream
	}
	time.Sleep(time.Second)
	_, err := put(t, n, p, header(job, b))
	expectKind(t, err, jobs.Exhausted)
	_, err = get(t, n, p, job, blobstest.Put(t, p.store, job, []byte("x")).Digest)
	expectKind(t, err, jobs.Exhausted)
	for _, stream := range streams {
		expectKind(t, stream.RecvMsg(new(gridv1.PutReply)), jobs.Unavailable)
	}
	if took := time.Since(start); took > blobs.MaxStall+time.Second {
		t.Errorf("stalled transfers ended after %v", took)
	}
	if _, err := put(t, n, p, header(job, b), &gridv1.PutRequest{Data: []byte("0123456789")}); err != nil {
		t.Error(err)
	}
}

func TestPutTrickles(t *testing.T) {
	inBubble(t, func(t *testing.T, n *network) {
		p := n.honest("p")
		stream, err := n.raw(p).Put(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		start := time.Now()
		b := jobs.Blob{Digest: jobs.Digest(job), Size: 1 << 20}
		for err = stream.Send(header(job, b)); err == nil; err = stream.Send(&gridv1.PutRequest{Data: []byte("x")}) {
			time.Sleep(blobs.MaxStall / 4)
		}
		if took := time.Since(start); took > 2*blobs.MaxStall {
			t.Errorf("a byte now and then held a place for %v", took)
		}
		expectKind(t, stream.RecvMsg(new(gridv1.PutReply)), jobs.Unavailable)
	})
}

// A reader that stops reading does not hold the holder's file and place.
func TestGetStalls(t *testing.T) {
	inBubble(t, func(t *testing.T, n *network) {
		p := n.honest("p")
		b := blobstest.Put(t, p.store, job, make([]byte, 8<<20))
		stream, err := n.raw(p).Get(t.Context(), &gridv1.GetRequest{Job: job[:], Digest: b.Digest[:]})
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(blobs.MaxStall + time.Second)
		for err == nil {
			_, err = stream.Recv()
		}
		expectKind(t, err, jobs.Unavailable)
	})
}
