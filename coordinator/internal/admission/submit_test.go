package admission

import (
	"bytes"
	"fmt"
	"testing"
	"time"

	"idlegrid/agent/peer"
	"idlegrid/agent/peer/blobs"
	"idlegrid/jobs"
	"idlegrid/jobs/manifest"
	"idlegrid/jobs/record"
	gridv1 "idlegrid/proto/grid/v1"
)

// TestSubmit goes the way of a job: its own blobs, what its list of inputs names, admission.
func TestSubmit(t *testing.T) {
	p := newPlace(t)
	j := p.job("whole")
	id := j.id(t)
	for round, want := range []int{2, 2} {
		reply, err := p.submit(j)
		if err != nil || reply.GetAdmitted() != nil || len(reply.GetMissing()) != want {
			t.Fatalf("round %d: %v, %v, expected %d missing blobs", round, reply, err, want)
		}
		p.upload(j, reply)
	}
	for range 2 { // The second time it is known.
		reply, err := p.submit(j)
		if err != nil || len(reply.GetMissing()) != 0 || reply.GetSeeded() != 3 {
			t.Fatalf("%v, %v", reply, err)
		}
		env, err := record.FromProto(reply.GetAdmitted())
		if err != nil {
			t.Fatal(err)
		}
		if err := env.Verify(p.alice.ID()); err != nil {
			t.Error(err)
		}
		if err := env.Verify(p.options.Identity().ID()); err != nil {
			t.Errorf("no countersignature: %v", err)
		}
	}
	if kept, err := p.options.Store.Job(id); err != nil || kept.Manifest.Name != "whole" {
		t.Errorf("%v, %v", kept, err)
	}
	if len(p.seeded) != 2 || p.seeded[0] != id {
		t.Errorf("seeded %v", p.seeded)
	}
	if len(p.service.pending) != 0 {
		t.Error("an admitted job is pending")
	}
}

func TestSubmitRefused(t *testing.T) {
	p := newPlace(t)
	hour := time.Hour
	tests := map[string]struct {
		change func(*manifest.Manifest)
		kind   jobs.ErrorKind
		text   string
	}{
		"another's":   {func(m *manifest.Manifest) { m.Submitter = p.bob.ID() }, jobs.Denied, "the manifest names submitter"},
		"units":       {func(m *manifest.Manifest) { m.Units = 11 }, jobs.Denied, "units: 11, this grid admits at most 10"},
		"memory":      {func(m *manifest.Manifest) { m.Memory += 64 << 10 }, jobs.Denied, "memory in MiB: 65, this grid admits at most 64"},
		"timeout":     {func(m *manifest.Manifest) { m.Timeout += time.Second }, jobs.Denied, "timeout: 1m1s, this grid admits at most 1m0s"},
		"keep":        {func(m *manifest.Manifest) { m.Expires = m.Expires.Add(time.Second) }, jobs.Denied, "keep: 24h0m1s"},
		"expired":     {func(m *manifest.Manifest) { m.Created, m.Expires = m.Created.Add(-2*hour), m.Created.Add(-hour) }, jobs.Expired, "the job expired"},
		"future":      {func(m *manifest.Manifest) { m.Created = m.Created.Add(hour) }, jobs.Invalid, "which is in the future"},
		"quorum":      {func(m *manifest.Manifest) { m.Quorum = 2 }, jobs.Unsupported, ""},
		"min version": {func(m *manifest.Manifest) { m.MinVersion = manifest.Version + 1 }, jobs.Unsupported, ""},
		"too large":   {func(m *manifest.Manifest) { m.Program.Size = 1 << 20 }, jobs.Denied, "program and inputs have 2 MiB, this grid admits at most 1"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			_, err := p.submit(p.job("refused", test.change))
			refused(t, err, test.kind, test.text)
		})
	}
	if len(p.service.pending) != 0 || len(p.seeded) != 0 {
		t.Errorf("%d pending, %d seeded", len(p.service.pending), len(p.seeded))
	}
}

// TestSubmitForged sends what no gridctl sends.
func TestSubmitForged(t *testing.T) {
	p := newPlace(t)
	j := p.job("forged")
	send := func(env record.Envelope) error {
		_, err := p.service.Submit(p.as(p.alice), &gridv1.SubmitRequest{Manifest: env.ToProto()})
		return err
	}
	payload := j.envelope(t).Payload
	refused(t, send(record.Sign(record.TypeManifest, payload, p.bob.Key)), jobs.Denied, "has not signed")
	refused(t, send(record.Sign(record.TypeReport, payload, p.alice.Key)), jobs.Invalid, "is no manifest")
	refused(t, send(record.Sign(record.TypeManifest, []byte("nonsense"), p.alice.Key)), jobs.Invalid, "manifest")
	changed := j.envelope(t)
	changed.Payload = bytes.Replace(changed.Payload, []byte("forged"), []byte("FORGED"), 1)
	refused(t, send(changed), jobs.Corrupt, "")
	_, err := p.service.Submit(p.as(p.alice), &gridv1.SubmitRequest{})
	refused(t, err, jobs.Invalid, "")
	_, err = p.service.Submit(p.as(p.grid.Agent()), &gridv1.SubmitRequest{Manifest: j.envelope(t).ToProto()})
	refused(t, err, jobs.Denied, "not for the role agent")
	// With all blobs here and no chain the manifest would be of no use to other peers.
	reply, err := p.submit(j)
	for err == nil && len(reply.GetMissing()) > 0 {
		p.upload(j, reply)
		reply, err = p.service.Submit(p.as(p.alice), &gridv1.SubmitRequest{Manifest: j.envelope(t).ToProto()})
	}
	refused(t, err, jobs.Denied, "a chain of 0 certificates")
}

func TestTooManyJobs(t *testing.T) {
	p := newPlace(t)
	p.admit(p.job("first"))
	p.admit(p.job("second"))
	_, err := p.submit(p.job("third"))
	refused(t, err, jobs.Exhausted, "this submitter has 2 live jobs, the limit")
	byBob := p.job("third", func(m *manifest.Manifest) { m.Submitter = p.bob.ID() })
	byBob.submitter = p.bob
	p.admit(byBob)
}

func TestTooManyUploads(t *testing.T) {
	p := newPlace(t)
	old := p.job("upload-0")
	for n := range maxPendingBySubmitter {
		next := old
		if n > 0 {
			next = p.job(fmt.Sprint("upload-", n))
		}
		if _, err := p.submit(next); err != nil {
			t.Fatal(err)
		}
	}
	_, err := p.submit(p.job("one-more"))
	refused(t, err, jobs.Exhausted, "jobs are being uploaded, try again later")
	// Uploads that take too long make room.
	p.service.pending[old.id(t)].since = time.Now().Add(-pendingLife - time.Second)
	if _, err = p.submit(p.job("one-more")); err != nil {
		t.Error(err)
	}
	refused(t, p.service.MayWrite(p.alice.Caller(), blobs.For(old.id(t)), old.manifest.Program), jobs.NotFound, "is not being submitted")
}

// TestTooLargeInputs finds out with the list of inputs that a job is too large: what came is forgotten, and
// nothing more may come.
func TestTooLargeInputs(t *testing.T) {
	p := newPlace(t)
	huge := jobs.Blob{Digest: jobs.DigestOf([]byte("huge")), Size: 1 << 20}
	list, err := manifest.EncodeInputs([]manifest.Input{{Path: "huge", Blob: huge}})
	if err != nil {
		t.Fatal(err)
	}
	j := p.job("huge", func(m *manifest.Manifest) { m.Inputs = blobOf(list) })
	j.content[j.manifest.Inputs] = list
	p.refusedAfterUpload(j, jobs.Denied, "program and inputs have 2 MiB")
	refused(t, p.service.MayWrite(p.alice.Caller(), blobs.For(j.id(t)), huge), jobs.NotFound, "is not being submitted")
}

func TestMissingOrWrongList(t *testing.T) {
	p := newPlace(t)
	nonsense := []byte("no list")
	j := p.job("nonsense", func(m *manifest.Manifest) { m.Inputs = blobOf(nonsense) })
	j.content[j.manifest.Inputs] = nonsense
	p.refusedAfterUpload(j, jobs.Invalid, "")
}

// refusedAfterUpload uploads a job's own blobs and expects the job to be refused and forgotten then.
func (p *place) refusedAfterUpload(j *theJob, kind jobs.ErrorKind, text string) {
	p.t.Helper()
	reply, err := p.submit(j)
	if err != nil {
		p.t.Fatal(err)
	}
	p.upload(j, reply)
	_, err = p.submit(j)
	refused(p.t, err, kind, text)
	if kept := p.options.Blobs.List(); len(kept) != 0 || len(p.service.pending) != 0 {
		p.t.Errorf("%d blobs, %d pending jobs are left", len(kept), len(p.service.pending))
	}
}

// TestMayWrite tries uploads that are nobody's business.
func TestMayWrite(t *testing.T) {
	p := newPlace(t)
	j := p.job("upload")
	id := blobs.For(j.id(t))
	may := p.service.MayWrite
	refused(t, may(p.alice.Caller(), id, j.manifest.Program), jobs.NotFound, "is not being submitted")
	if _, err := p.submit(j); err != nil {
		t.Fatal(err)
	}
	if err := may(p.alice.Caller(), id, j.manifest.Program); err != nil {
		t.Error(err)
	}
	refused(t, may(p.alice.Caller(), id, blobOf([]byte("one"))), jobs.Denied, "does not name blob") // The list is not here yet.
	wrongSize := jobs.Blob{Digest: j.manifest.Program.Digest, Size: 1 << 30}
	refused(t, may(p.alice.Caller(), id, wrongSize), jobs.Denied, "does not name blob")
	refused(t, may(p.bob.Caller(), id, j.manifest.Program), jobs.NotFound, "is not being submitted")
	refused(t, may(p.grid.Agent().Caller(), id, j.manifest.Program), jobs.Denied, "keeps no packs")
	pack := blobs.Claim{Job: id.Job, Kind: blobs.Pack}
	refused(t, may(p.alice.Caller(), pack, j.manifest.Program), jobs.Denied, "keeps no packs")
	p.admit(j)
	refused(t, may(p.alice.Caller(), id, j.manifest.Program), jobs.NotFound, "is not being submitted")
}

func TestMayRead(t *testing.T) {
	p := newPlace(t)
	j := p.job("read")
	id := j.id(t)
	may := p.service.MayRead
	refused(t, may(p.alice.Caller(), id), jobs.NotFound, "no live job")
	states := map[string]func(){
		"pending":  func() { _, _ = p.submit(j) },
		"admitted": func() { p.admit(j) },
	}
	for _, name := range []string{"pending", "admitted"} {
		states[name]()
		for _, who := range []peer.Role{peer.Operator, peer.Coordinator} {
			if err := may(p.grid.Role(who, "").Caller(), id); err != nil {
				t.Errorf("%s, %s: %v", name, who, err)
			}
		}
		if err := may(p.alice.Caller(), id); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		refused(t, may(p.bob.Caller(), id), jobs.Denied, "is another submitter's")
	}
}
