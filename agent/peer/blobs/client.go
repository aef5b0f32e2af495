package blobs

import (
	"cmp"
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"time"

	"google.golang.org/grpc"

	"idlegrid/agent/peer"
	"idlegrid/agent/peer/identity"
	"idlegrid/jobs"
	"idlegrid/jobs/record"
	gridv1 "idlegrid/proto/grid/v1"
)

const (
	// minGrace is how long Replicate at least waits for the others once enough peers have the blob.
	minGrace = 2 * time.Second
	// busyPause, which doubles up to maxPause, and at random as much again, is when peers are asked once more of which
	// one had too many readers, and maxBusy for how long that goes on.
	busyPause = 250 * time.Millisecond
	maxPause  = 4 * time.Second
	maxBusy   = 5 * time.Minute
)

// Dialer gives connections to peers, as rpc.Dialer does: good only for the peer whose key ID was expected, and
// with errors of package jobs.
type Dialer interface {
	Conn(addr string, expect jobs.KeyID) (grpc.ClientConnInterface, error)
}

// Client moves blobs between the local store and peers. All methods may be called at the same time.
type Client struct {
	// Throttle bounds how fast blobs travel; set before the first call, or nil.
	Throttle *Throttle

	store  Store
	dialer Dialer
	key    ed25519.PrivateKey
	self   jobs.AgentID

	fetches *gate[jobs.Digest]  // one fetch of a blob at a time
	peers   *gate[jobs.AgentID] // a few transfers a peer at a time
	strikes strikes
}

// NewClient returns a client. The key signs receipts for the local store and says which member is this one.
func NewClient(store Store, dialer Dialer, key ed25519.PrivateKey) *Client {
	return &Client{
		store: store, dialer: dialer, key: key,
		self:    identity.KeyIDOf(key.Public().(ed25519.PublicKey)), // an ed25519.PrivateKey has no other
		fetches: newGate[jobs.Digest](1),
		peers:   newGate[jobs.AgentID](maxPeerTransfers),
	}
}

// Fetch brings the blob into the local store as the claim says, unless it is there, from the first of the members
// that gives the right bytes. The error is of kind NotFound when all of them said that they have not got it,
// of kind Unavailable when one of them might have it, and otherwise the local store's.
func (c *Client) Fetch(ctx context.Context, claim Claim, b jobs.Blob, from []peer.Member) error {
	leave, err := c.fetches.enter(ctx, b.Digest)
	if err != nil {
		return err
	}
	defer leave()
	err = c.store.Keep(claim, b)
	if jobs.KindOf(err) != jobs.NotFound {
		return err
	}
	for began, pause := time.Now(), busyPause; ; pause = min(2*pause, maxPause) {
		busy, err := c.fetchAny(ctx, claim, b, from)
		if err == nil || !busy || time.Since(began) > maxBusy {
			return err
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(pause + rand.N(pause)):
		}
	}
}

// fetchAny asks each member once, until one gives the blob. Busy says that one of them may do so a little later.
func (c *Client) fetchAny(ctx context.Context, claim Claim, b jobs.Blob, from []peer.Member) (busy bool, err error) {
	kind, reasons := jobs.NotFound, []error(nil)
	for _, m := range from {
		if m.ID == c.self {
			continue
		}
		peerErr, err := c.fetchFrom(ctx, claim, b, m)
		if err != nil || peerErr == nil {
			return false, err
		}
		if ctx.Err() != nil {
			return false, context.Cause(ctx)
		}
		busy = busy || jobs.KindOf(peerErr) == jobs.Exhausted
		if jobs.KindOf(peerErr) != jobs.NotFound {
			kind = jobs.Unavailable
		}
		reasons = append(reasons, fmt.Errorf("%s: %w", m.ID.Short(), peerErr))
	}
	if len(reasons) == 0 {
		return false, jobs.Errorf(kind, "fetch blob %s: no peer is there that could have it", short(b.Digest))
	}
	return busy, jobs.Errorf(kind, "fetch blob %s: none of %d peers gave it: %w", short(b.Digest), len(reasons), errors.Join(reasons...))
}

// fetchFrom tries one member. A fault of the member, or of the way to it, is peerErr: the next one may do
// better. A fault of the local store is err.
func (c *Client) fetchFrom(ctx context.Context, claim Claim, b jobs.Blob, m peer.Member) (peerErr, err error) {
	if !c.strikes.trusted(m.ID) {
		return jobs.Errorf(jobs.Unavailable, "not asked: gave %d wrong blobs within %v", maxStrikes, strikeTerm), nil
	}
	leave, err := c.peers.enter(ctx, m.ID)
	if err != nil {
		return nil, err
	}
	defer leave()
	conn, err := c.dialer.Conn(m.Address, m.ID)
	if err != nil {
		return err, nil
	}
	ctx, cancel := context.WithCancel(ctx) // ends the stream, whatever was read of it
	defer cancel()
	in := receive(ctx, conn, claim.Job, b.Digest, c.Throttle)
	err = c.store.Put(claim, b, in)
	switch {
	case err == nil:
		return nil, nil
	case in.failed() != nil:
		return in.failed(), nil
	case jobs.KindOf(err) == jobs.Corrupt:
		c.strikes.add(m.ID)
		return err, nil
	default:
		return nil, err
	}
}

// receive reads a blob from a peer, not verified. The stream ends with ctx.
func receive(ctx context.Context, conn grpc.ClientConnInterface, job jobs.JobID, d jobs.Digest, t *Throttle) *incoming {
	var stream gridv1.Blobs_GetClient
	next := func() ([]byte, error) {
		if stream == nil {
			var err error
			stream, err = gridv1.NewBlobsClient(conn).Get(ctx, &gridv1.GetRequest{Job: job[:], Digest: d[:]})
			if err != nil {
				return nil, err
			}
		}
		m, err := stream.Recv()
		return m.GetData(), err
	}
	return &incoming{pace: newPace(ctx, t), next: next}
}

// Replicate gives the blob, which must be in the local store for the job, to all the members at the same
// time and returns the receipts that came, verified. This peer may be among the members. Once need of them
// have it the others get as long again, and at least two seconds; a laptop that just went to sleep does not
// hold up everybody. When fewer than need have it, the error says why, and is of kind Unavailable.
func (c *Client) Replicate(ctx context.Context, claim Claim, b jobs.Blob, to []peer.Member, need int) ([]record.Envelope, error) {
	if !c.store.Holds(claim.Job, b.Digest) {
		return nil, notHere(b.Digest)
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	answers := make(chan answer, len(to))
	for _, m := range to {
		go func() {
			receipt, err := c.giveTo(ctx, header{claim: claim, blob: b}, m)
			answers <- answer{m.ID, receipt, err}
		}()
	}
	start := time.Now()
	var receipts []record.Envelope
	var reasons []error
	for range to { // every goroutine is waited for; cancel makes them quick
		a := <-answers
		if a.err != nil {
			reasons = append(reasons, fmt.Errorf("%s: %w", a.from.Short(), a.err))
			continue
		}
		receipts = append(receipts, a.receipt)
		if len(receipts) == need {
			time.AfterFunc(max(minGrace, time.Since(start)), cancel) // harmless once all have answered
		}
	}
	if len(receipts) < need {
		return receipts, jobs.Errorf(jobs.Unavailable, "replicate blob %s: %d of %d peers have it, %d needed: %w",
			short(b.Digest), len(receipts), len(to), need, errors.Join(reasons...))
	}
	return receipts, nil
}

// Place gives a pack, program or input to the members that should hold it. Where too few of the first choices take
// it the next are asked. It returns the receipts that came; with fewer than peer.Needed the error says why.
func (c *Client) Place(ctx context.Context, claim Claim, b jobs.Blob, members []peer.Member) ([]record.Envelope, error) {
	need := peer.Needed(members)
	ranked := peer.Holders(b.Digest, members, 2*peer.Copies)
	var receipts []record.Envelope
	var reasons error
	for len(ranked) > 0 && len(receipts) < need {
		n := min(peer.Copies, len(ranked))
		got, err := c.Replicate(ctx, claim, b, ranked[:n], need-len(receipts))
		receipts = append(receipts, got...)
		reasons = errors.Join(reasons, err)
		ranked = ranked[n:]
	}
	if len(receipts) >= need {
		return receipts, nil
	}
	return receipts, jobs.Errorf(jobs.Unavailable, "blob %s is held by %d agents, %d are needed: %w",
		short(b.Digest), len(receipts), need, cmp.Or(reasons, errNobody))
}

var errNobody = errors.New("no agent is here that could hold it")

// answer is what one member said to Replicate.
type answer struct {
	from    jobs.AgentID
	receipt record.Envelope
	err     error
}

// giveTo gives a blob to one member, which may be this peer itself, and returns its receipt.
func (c *Client) giveTo(ctx context.Context, h header, m peer.Member) (record.Envelope, error) {
	if m.ID == c.self {
		return makeReceipt(c.key, h.claim.Job, h.blob), c.store.Keep(h.claim, h.blob)
	}
	leave, err := c.peers.enter(ctx, m.ID)
	if err != nil {
		return record.Envelope{}, err
	}
	defer leave()
	conn, err := c.dialer.Conn(m.Address, m.ID)
	if err != nil {
		return record.Envelope{}, err
	}
	r, _, err := c.store.Open(h.blob.Digest)
	if err != nil {
		return record.Envelope{}, err
	}
	receipt, err := send(ctx, Peer{conn, m.ID}, h, r, c.Throttle)
	return receipt, errors.Join(err, r.Close())
}

// Peer is a connection and who is at its other end.
type Peer struct {
	Conn grpc.ClientConnInterface
	ID   jobs.KeyID
}

// Send gives a program or an input, whose bytes r has, to one peer and returns the peer's receipt, verified. It is
// for those who have no store of their own; others call Replicate.
func Send(ctx context.Context, to Peer, job jobs.JobID, b jobs.Blob, r io.Reader) (record.Envelope, error) {
	return send(ctx, to, header{claim: For(job), blob: b}, r, nil)
}

func send(ctx context.Context, to Peer, h header, r io.Reader, t *Throttle) (record.Envelope, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	reply, err := put(ctx, to.Conn, h, r, t)
	if err != nil {
		return record.Envelope{}, fmt.Errorf("send blob %s: %w", short(h.blob.Digest), err)
	}
	e, err := record.FromProto(reply.GetReceipt())
	if err != nil {
		return record.Envelope{}, fmt.Errorf("receipt for blob %s: %w", short(h.blob.Digest), err)
	}
	return e, CheckReceipt(e, record.Receipt{Holder: to.ID, Blob: h.blob, Job: h.claim.Job})
}

// put runs a Put. The stream ends with ctx.
func put(ctx context.Context, conn grpc.ClientConnInterface, h header, r io.Reader, t *Throttle) (*gridv1.PutReply, error) {
	p := newPace(ctx, t)
	var stream gridv1.Blobs_PutClient
	err := p.do(func() (err error) {
		stream, err = gridv1.NewBlobsClient(conn).Put(ctx)
		return err
	})
	if err != nil {
		return nil, err // it may wrap io.EOF, too
	}
	err = p.do(func() error {
		return stream.Send(&gridv1.PutRequest{Header: h.toProto()})
	})
	if err == nil {
		err = sendChunks(p, r, h.blob.Size, func(data []byte) error { return stream.Send(&gridv1.PutRequest{Data: data}) })
	}
	// gRPC's Send says io.EOF when the peer has answered already; the answer is what counts.
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	var reply *gridv1.PutReply
	err = p.do(func() (err error) {
		reply, err = stream.CloseAndRecv()
		return err
	})
	return reply, err
}

// CheckReceipt returns nil if e is a receipt that says exactly what want says, signed by its holder.
func CheckReceipt(e record.Envelope, want record.Receipt) error {
	if e.Type != record.TypeReceipt {
		return jobs.Errorf(jobs.Invalid, "%q is no receipt", e.Type)
	}
	got, err := record.DecodeReceipt(e.Payload)
	if err != nil {
		return err
	}
	if *got != want {
		return jobs.Errorf(jobs.Invalid, "receipt of %s for blob %s is about something else", want.Holder.Short(), short(want.Blob.Digest))
	}
	return e.Verify(want.Holder)
}
