package blobs

import (
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"slices"

	"idlegrid/agent/peer/failpoint"
	"idlegrid/agent/peer/identity"
	"idlegrid/jobs"
	"idlegrid/jobs/record"
	gridv1 "idlegrid/proto/grid/v1"
)

const (
	// MaxHave is how many digests one Have may ask for.
	MaxHave = 1000
	// MaxRelease is how many units one Release may name.
	MaxRelease = 1000
	// maxKeep is how many blobs the author of a checkpoint may need beside the one it puts, which bounds how many
	// it has here of a unit: two checkpoints have four, and three while one takes another's place.
	maxKeep = 8
)

// Policy says who may do what with a job's blobs. Its errors go to the caller as they are. It is asked with
// callers whose role may use the method at all, and before any byte moves.
type Policy interface {
	// MayRead allows the caller to see which blobs of the job are here, and their bytes.
	MayRead(caller identity.Caller, job jobs.JobID) error
	// MayWrite allows the caller to store b as the claim says; it also holds the job's and the peer's limits.
	MayWrite(caller identity.Caller, c Claim, b jobs.Blob) error
}

// ServiceOptions are what a Service needs; every field.
type ServiceOptions struct {
	Store    Store
	Policy   Policy
	Key      ed25519.PrivateKey // signs receipts
	Throttle *Throttle          // of what travels; nil: no bound
	// Allow returns who calls, or refuses a caller whose role may not use the method (rpc.Allow).
	Allow func(ctx context.Context, method string) (identity.Caller, error)
}

// Service is the server's side of the Blobs protocol.
type Service struct {
	gridv1.UnimplementedBlobsServer
	o     ServiceOptions
	limit limiter
}

// NewService returns a service on a store, which the caller closes after the server has stopped.
func NewService(o ServiceOptions) *Service { return &Service{o: o} }

// Get streams a blob that is kept for the job. It hashes what it sends: bytes that have changed on the disk
// end in an error of kind Corrupt, and the blob is gone from the store.
func (s *Service) Get(req *gridv1.GetRequest, stream gridv1.Blobs_GetServer) error {
	caller, err := s.o.Allow(stream.Context(), gridv1.Blobs_Get_FullMethodName)
	if err != nil {
		return err
	}
	job, err := jobs.JobIDFromBytes(req.GetJob())
	if err != nil {
		return jobs.Errorf(jobs.Invalid, "get blob: job: %w", err)
	}
	d, err := jobs.DigestFromBytes(req.GetDigest())
	if err != nil {
		return jobs.Errorf(jobs.Invalid, "get blob: %w", err)
	}
	if err := s.o.Policy.MayRead(caller, job); err != nil {
		return err
	}
	if !s.o.Store.Holds(job, d) {
		return notHere(d)
	}
	leave, err := s.limit.enter(caller.ID)
	if err != nil {
		return err
	}
	defer leave()
	return s.send(d, stream)
}

func (s *Service) send(d jobs.Digest, stream gridv1.Blobs_GetServer) error {
	r, size, err := s.o.Store.Open(d)
	if err != nil {
		return err
	}
	leave, err := s.limit.read(jobs.Blob{Digest: d, Size: size})
	if err != nil {
		return errors.Join(err, r.Close())
	}
	defer leave()
	h := sha256.New()
	err = sendChunks(newPace(stream.Context(), s.o.Throttle), io.TeeReader(r, h), size, func(data []byte) error {
		return stream.Send(&gridv1.GetReply{Data: data})
	})
	if cerr := r.Close(); err == nil {
		err = cerr
	}
	if err == nil && jobs.Digest(h.Sum(nil)) != d || jobs.KindOf(err) == jobs.Corrupt {
		return s.o.Store.Verify(d) // reads it again, and deletes it if the disk was at fault
	}
	return err
}

// Have tells which blobs are kept for the job.
func (s *Service) Have(ctx context.Context, req *gridv1.HaveRequest) (*gridv1.HaveReply, error) {
	caller, err := s.o.Allow(ctx, gridv1.Blobs_Have_FullMethodName)
	if err != nil {
		return nil, err
	}
	if len(req.GetDigests()) > MaxHave {
		return nil, jobs.Errorf(jobs.Invalid, "have: %d digests, expected at most %d", len(req.GetDigests()), MaxHave)
	}
	job, err := jobs.JobIDFromBytes(req.GetJob())
	if err != nil {
		return nil, jobs.Errorf(jobs.Invalid, "have: job: %w", err)
	}
	if err := s.o.Policy.MayRead(caller, job); err != nil {
		return nil, err
	}
	have := make([]bool, len(req.GetDigests()))
	for i, raw := range req.GetDigests() {
		d, err := jobs.DigestFromBytes(raw)
		if err != nil {
			return nil, jobs.Errorf(jobs.Invalid, "have: entry %d: %w", i, err)
		}
		have[i] = s.o.Store.Holds(job, d)
	}
	return &gridv1.HaveReply{Have: have}, nil
}

// Put stores a blob and answers with a receipt once the bytes are durable and verified. A blob that is kept
// for the job already is read again instead, and its bytes need not come.
func (s *Service) Put(stream gridv1.Blobs_PutServer) error {
	caller, err := s.o.Allow(stream.Context(), gridv1.Blobs_Put_FullMethodName)
	if err != nil {
		return err
	}
	leave, err := s.limit.enter(caller.ID)
	if err != nil {
		return err
	}
	defer leave()
	in := &incoming{pace: newPace(stream.Context(), s.o.Throttle), next: func() ([]byte, error) { return nextData(stream) }}
	h, err := readHeader(in.pace, stream, caller.ID)
	if err != nil {
		return err
	}
	if err := s.o.Policy.MayWrite(caller, h.claim, h.blob); err != nil {
		return err
	}
	if err := s.store(h, in); err != nil {
		return err
	}
	failpoint.Hit("blob.receipt")
	receipt := makeReceipt(s.o.Key, h.claim.Job, h.blob)
	return stream.SendAndClose(&gridv1.PutReply{Receipt: receipt.ToProto()})
}

func (s *Service) store(h header, r io.Reader) error {
	if s.o.Store.Holds(h.claim.Job, h.blob.Digest) {
		err := s.o.Store.Verify(h.blob.Digest)
		if err != nil && jobs.KindOf(err) != jobs.Corrupt {
			return err
		}
		// A blob that had rotted is gone now, and Put below asks for its bytes.
	}
	if err := s.o.Store.Put(h.claim, h.blob, r); err != nil || h.claim.Kind != Checkpoint {
		return err
	}
	return supersede(s.o.Store, h.claim, append(h.keep, h.blob.Digest))
}

// Release drops the caller's checkpoints of units that are done.
func (s *Service) Release(ctx context.Context, req *gridv1.ReleaseRequest) (*gridv1.ReleaseReply, error) {
	caller, err := s.o.Allow(ctx, gridv1.Blobs_Release_FullMethodName)
	if err != nil {
		return nil, err
	}
	if len(req.GetUnits()) > MaxRelease {
		return nil, jobs.Errorf(jobs.Invalid, "release: %d units, expected at most %d", len(req.GetUnits()), MaxRelease)
	}
	job, err := jobs.JobIDFromBytes(req.GetJob())
	if err != nil {
		return nil, jobs.Errorf(jobs.Invalid, "release: job: %w", err)
	}
	return &gridv1.ReleaseReply{}, release(s.o.Store, job, caller.ID, req.GetUnits())
}

// release removes an author's checkpoints of units.
func release(s Store, job jobs.JobID, author jobs.AgentID, units []uint64) error {
	return s.Drop(func(_ jobs.Digest, c Claim) bool {
		return c.Kind == Checkpoint && c.Job == job && c.Author == author && slices.Contains(units, c.Unit)
	})
}

// header is the first message of a Put.
type header struct {
	claim Claim
	blob  jobs.Blob
	keep  []jobs.Digest // of a checkpoint: what its author needs besides
}

func (h header) toProto() *gridv1.PutHeader {
	p := &gridv1.PutHeader{Job: h.claim.Job[:], Blob: record.BlobToProto(h.blob), Kind: gridv1.BlobKind(h.claim.Kind), Unit: h.claim.Unit}
	for _, d := range h.keep {
		p.Keep = append(p.Keep, d[:])
	}
	return p
}

// headerFromProto reads what the author sent.
func headerFromProto(p *gridv1.PutHeader, author jobs.KeyID) (header, error) {
	var h header
	var err error
	if h.claim.Job, err = jobs.JobIDFromBytes(p.GetJob()); err != nil {
		return header{}, fmt.Errorf("job: %w", err)
	}
	if h.blob, err = record.BlobFromProto(p.GetBlob()); err == nil {
		err = checkName(h.claim.Job, h.blob)
	}
	if err != nil {
		return header{}, err
	}
	switch p.GetKind() {
	case gridv1.BlobKind_BLOB_KIND_UNSPECIFIED:
	case gridv1.BlobKind_BLOB_KIND_PACK:
		h.claim.Kind = Pack
	case gridv1.BlobKind_BLOB_KIND_CHECKPOINT:
		h.claim.Kind, h.claim.Author, h.claim.Unit = Checkpoint, author, p.GetUnit()
	default:
		return header{}, jobs.Errorf(jobs.Invalid, "unknown kind %d", p.GetKind())
	}
	if n := len(p.GetKeep()); n > maxKeep {
		return header{}, jobs.Errorf(jobs.Invalid, "%d blobs to keep, expected at most %d", n, maxKeep)
	}
	for _, raw := range p.GetKeep() {
		d, err := jobs.DigestFromBytes(raw)
		if err != nil {
			return header{}, fmt.Errorf("to keep: %w", err)
		}
		h.keep = append(h.keep, d)
	}
	return h, nil
}

// readHeader reads the first message of a Put.
func readHeader(p *pace, stream gridv1.Blobs_PutServer, author jobs.KeyID) (header, error) {
	var m *gridv1.PutRequest
	err := p.do(func() (err error) {
		m, err = stream.Recv()
		return err
	})
	if errors.Is(err, io.EOF) {
		return header{}, jobs.Errorf(jobs.Invalid, "put blob: no header")
	}
	if err != nil {
		return header{}, err
	}
	if m.GetHeader() == nil || len(m.GetData()) > 0 {
		return header{}, jobs.Errorf(jobs.Invalid, "put blob: the first message must be the header alone")
	}
	h, err := headerFromProto(m.GetHeader(), author)
	if err != nil {
		return header{}, jobs.Errorf(jobs.Invalid, "put blob: %w", err)
	}
	return h, nil
}

func nextData(stream gridv1.Blobs_PutServer) ([]byte, error) {
	m, err := stream.Recv()
	if err != nil {
		return nil, err
	}
	if m.GetHeader() != nil {
		return nil, jobs.Errorf(jobs.Invalid, "put blob: a second header")
	}
	return m.GetData(), nil
}

// makeReceipt signs that the key's owner keeps the blob for the job.
func makeReceipt(key ed25519.PrivateKey, job jobs.JobID, b jobs.Blob) record.Envelope {
	holder := identity.KeyIDOf(key.Public().(ed25519.PublicKey)) // an ed25519.PrivateKey has no other
	r := record.Receipt{Holder: holder, Blob: b, Job: job}
	return record.Sign(record.TypeReceipt, r.Encode(), key)
}
