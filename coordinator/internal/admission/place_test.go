package admission

import (
	"bytes"
	"context"
	"log/slog"
	"path/filepath"
	"testing"
	"time"

	"idlegrid/agent/peer"
	"idlegrid/agent/peer/blobs"
	"idlegrid/agent/peer/identity"
	"idlegrid/agent/peer/identity/identitytest"
	"idlegrid/agent/peer/records"
	"idlegrid/agent/peer/rpc"
	"idlegrid/jobs"
	"idlegrid/jobs/manifest"
	"idlegrid/jobs/record"
	gridv1 "idlegrid/proto/grid/v1"
)

// place is a coordinator's admission with all that it needs, and two submitters.
type place struct {
	t          *testing.T
	grid       *identitytest.Grid
	options    Options
	service    *Service
	members    []peer.Member
	alice, bob *identity.Identity
	seeded     []jobs.JobID
}

func newPlace(t *testing.T) *place {
	t.Helper()
	p := &place{t: t, grid: identitytest.NewGrid(t)}
	own := p.grid.Role(peer.Coordinator, "")
	p.alice, p.bob = p.grid.Role(peer.Submitter, "alice"), p.grid.Role(peer.Submitter, "bob")
	store, err := records.Open(records.Options{
		Path: filepath.Join(t.TempDir(), "records.db"), Root: p.grid.Root(), Self: own.ID(),
		Members: func() []peer.Member { return p.members }, Log: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := store.Close(); err != nil {
			t.Error(err)
		}
	})
	p.options = Options{
		Config:    Config{MaxAgents: 2, MaxJobsPerSubmitter: 2, MaxUnits: 10, MaxMemoryMiB: 64, MaxTimeoutMinutes: 1, MaxKeepDays: 1, MaxJobMiB: 1},
		Authority: p.grid.Authority, Identity: func() *identity.Identity { return own }, Store: store, Blobs: blobs.NewMemory(0),
		Members: func() []peer.Member { return p.members }, GossipKeys: [][]byte{[]byte("gossip key")},
		Seed: func(_ context.Context, id jobs.JobID, _ bool) int {
			p.seeded = append(p.seeded, id)
			return 3
		},
		Log: slog.New(slog.DiscardHandler),
	}
	p.restart()
	return p
}

func (p *place) restart() {
	p.t.Helper()
	var err error
	if p.service, err = New(p.options); err != nil {
		p.t.Fatal(err)
	}
}

// as returns the context of a call by somebody.
func (p *place) as(id *identity.Identity) context.Context {
	return rpc.WithCaller(p.t.Context(), id.Caller())
}

// theJob is a job with a program and two inputs.
type theJob struct {
	manifest  manifest.Manifest
	submitter *identity.Identity
	content   map[jobs.Blob][]byte
}

func blobOf(content []byte) jobs.Blob {
	return jobs.Blob{Digest: jobs.DigestOf(content), Size: int64(len(content))}
}

func (p *place) job(name string, change ...func(*manifest.Manifest)) *theJob {
	p.t.Helper()
	program, first, second := []byte("program"), []byte("one"), []byte("two")
	list, err := manifest.EncodeInputs([]manifest.Input{{Path: "a", Blob: blobOf(first)}, {Path: "b", Blob: blobOf(second)}})
	if err != nil {
		p.t.Fatal(err)
	}
	now := time.Now().Truncate(time.Second)
	j := &theJob{submitter: p.alice, content: map[jobs.Blob][]byte{}, manifest: manifest.Manifest{
		Name: name, Submitter: p.alice.ID(), Runtime: manifest.RuntimeWasm, Program: blobOf(program), Inputs: blobOf(list),
		Units: 10, Bundle: 1, Quorum: 1, Memory: 64 << 20, Timeout: time.Minute, SuccessCodes: []uint32{0},
		Created: now, Expires: now.Add(24 * time.Hour), MinVersion: manifest.Version,
	}}
	for _, content := range [][]byte{program, first, second, list} {
		j.content[blobOf(content)] = content
	}
	for _, c := range change {
		c(&j.manifest)
	}
	return j
}

func (j *theJob) envelope(t *testing.T) record.Envelope {
	t.Helper()
	payload, err := j.manifest.Encode()
	if err != nil {
		t.Fatal(err)
	}
	return record.Sign(record.TypeManifest, payload, j.submitter.Key)
}

func (j *theJob) id(t *testing.T) jobs.JobID { return jobs.JobID(j.envelope(t).ID()) }

// submit makes one call of Submit.
func (p *place) submit(j *theJob) (*gridv1.SubmitReply, error) {
	p.t.Helper()
	return p.service.Submit(p.as(j.submitter), &gridv1.SubmitRequest{
		Manifest: j.envelope(p.t).ToProto(), Chain: &gridv1.Chain{Certificates: j.submitter.Chain},
	})
}

// upload stores what a reply says is missing, as the blob service would.
func (p *place) upload(j *theJob, reply *gridv1.SubmitReply) {
	p.t.Helper()
	for _, m := range reply.GetMissing() {
		b, err := record.BlobFromProto(m)
		if err == nil {
			err = p.service.MayWrite(j.submitter.Caller(), blobs.For(j.id(p.t)), b)
		}
		if err == nil {
			err = p.options.Blobs.Put(blobs.For(j.id(p.t)), b, bytes.NewReader(j.content[b]))
		}
		if err != nil {
			p.t.Fatal(err)
		}
	}
}

// admit submits a job to the end.
func (p *place) admit(j *theJob) {
	p.t.Helper()
	for range 3 {
		reply, err := p.submit(j)
		if err != nil {
			p.t.Fatal(err)
		}
		if reply.GetAdmitted() != nil {
			return
		}
		p.upload(j, reply)
	}
	p.t.Fatal("blobs are missing after they were uploaded")
}

// refused fails the test unless err is of the kind and has the text.
func refused(t *testing.T, err error, kind jobs.ErrorKind, text string) {
	t.Helper()
	if err == nil || jobs.KindOf(err) != kind || !bytes.Contains([]byte(err.Error()), []byte(text)) {
		t.Errorf("got %v (%s), expected an error of kind %s with %q", err, jobs.KindOf(err), kind, text)
	}
}
