package manifest

import (
	"time"

	"google.golang.org/protobuf/proto"

	"idlegrid/jobs"
	gridv1 "idlegrid/proto/grid/v1"
)

// Encode returns the manifest's canonical bytes: equal manifests have equal bytes. It refuses a manifest
// that Decode would refuse.
func (m *Manifest) Encode() ([]byte, error) {
	if err := m.check(); err != nil {
		return nil, err
	}
	b, err := marshal(m.toProto())
	if err != nil {
		return nil, jobs.Errorf(jobs.Invalid, "encode manifest: %w", err)
	}
	if len(b) > MaxSize {
		return nil, jobs.Errorf(jobs.Invalid, "manifest of %d bytes, at most %d are allowed", len(b), MaxSize)
	}
	return b, nil
}

// Decode reads a manifest and checks all its bounds. Fields of later versions are passed over: the caller
// keeps the bytes, which are what was signed.
func Decode(b []byte) (*Manifest, error) {
	if len(b) > MaxSize {
		return nil, jobs.Errorf(jobs.Invalid, "manifest of %d bytes, at most %d are allowed", len(b), MaxSize)
	}
	var p gridv1.Manifest
	if err := proto.Unmarshal(b, &p); err != nil {
		return nil, jobs.Errorf(jobs.Invalid, "decode manifest: %w", err)
	}
	m, err := fromProto(&p)
	if err != nil {
		return nil, err
	}
	if err := m.check(); err != nil {
		return nil, err
	}
	return m, nil
}

// sizes returns the size of the encoded manifest and the field of a job.yaml that takes most of it. Only
// these three can be large.
func (m *Manifest) sizes() (total int, largest string, most int) {
	p := m.toProto()
	parts := []struct {
		name string
		only *gridv1.Manifest
	}{
		{"args", &gridv1.Manifest{Args: p.GetArgs()}},
		{"env", &gridv1.Manifest{Env: p.GetEnv()}},
		{"combine", &gridv1.Manifest{Combine: p.GetCombine()}},
	}
	for _, part := range parts {
		if size := proto.Size(part.only); size > most {
			largest, most = part.name, size
		}
	}
	return proto.Size(p), largest, most
}

func marshal(p proto.Message) ([]byte, error) {
	return proto.MarshalOptions{Deterministic: true}.Marshal(p)
}

func (m *Manifest) toProto() *gridv1.Manifest {
	p := &gridv1.Manifest{
		Name:         m.Name,
		Submitter:    m.Submitter[:],
		Runtime:      m.Runtime,
		Program:      blobToProto(m.Program),
		Args:         m.Args,
		Stdin:        blobToProto(m.Stdin),
		Inputs:       blobToProto(m.Inputs),
		Units:        m.Units,
		Bundle:       m.Bundle,
		Quorum:       m.Quorum,
		MemoryBytes:  m.Memory,
		TimeoutMs:    m.Timeout.Milliseconds(),
		CheckpointMs: m.Checkpoint.Milliseconds(),
		Retries:      m.Retries,
		SuccessCodes: m.SuccessCodes,
		Created:      m.Created.Unix(),
		Expires:      m.Expires.Unix(),
		MinVersion:   m.MinVersion,
		Features:     m.Features,
	}
	for _, v := range m.Env {
		p.Env = append(p.Env, &gridv1.EnvVar{Name: v.Name, Value: v.Value})
	}
	if m.Combine != nil {
		p.Combine = &gridv1.Combine{Program: blobToProto(m.Combine.Program), Args: m.Combine.Args}
	}
	return p
}

func fromProto(p *gridv1.Manifest) (*Manifest, error) {
	m := &Manifest{
		Name:         p.GetName(),
		Runtime:      p.GetRuntime(),
		Args:         p.GetArgs(),
		Units:        p.GetUnits(),
		Bundle:       p.GetBundle(),
		Quorum:       p.GetQuorum(),
		Memory:       p.GetMemoryBytes(),
		Retries:      p.GetRetries(),
		SuccessCodes: p.GetSuccessCodes(),
		Created:      time.Unix(p.GetCreated(), 0).UTC(),
		Expires:      time.Unix(p.GetExpires(), 0).UTC(),
		MinVersion:   p.GetMinVersion(),
		Features:     p.GetFeatures(),
	}
	for _, v := range p.GetEnv() {
		m.Env = append(m.Env, EnvVar{Name: v.GetName(), Value: v.GetValue()})
	}
	// Checked here, before the multiplication can overflow.
	if ms := p.GetTimeoutMs(); ms < 1 || ms > MaxTimeout.Milliseconds() {
		return nil, jobs.Errorf(jobs.Invalid, "manifest: timeout of %d ms, expected 1 ms to %s", ms, MaxTimeout)
	}
	m.Timeout = time.Duration(p.GetTimeoutMs()) * time.Millisecond
	if ms := p.GetCheckpointMs(); ms < NoCheckpoint.Milliseconds() || ms > MaxCheckpoint.Milliseconds() {
		return nil, jobs.Errorf(jobs.Invalid, "manifest: checkpoint every %d ms, expected at most %s", ms, MaxCheckpoint)
	}
	m.Checkpoint = time.Duration(p.GetCheckpointMs()) * time.Millisecond
	var err error
	if m.Submitter, err = jobs.KeyIDFromBytes(p.GetSubmitter()); err != nil {
		return nil, jobs.Errorf(jobs.Invalid, "manifest: submitter: %w", err)
	}
	return m, m.blobsFromProto(p)
}

func (m *Manifest) blobsFromProto(p *gridv1.Manifest) error {
	if p.GetCombine() != nil {
		m.Combine = &Combine{Args: p.GetCombine().GetArgs()}
		if err := blobFromProto(&m.Combine.Program, p.GetCombine().GetProgram()); err != nil {
			return jobs.Errorf(jobs.Invalid, "manifest: combine.program: %w", err)
		}
	}
	if err := blobFromProto(&m.Program, p.GetProgram()); err != nil {
		return jobs.Errorf(jobs.Invalid, "manifest: program: %w", err)
	}
	if err := blobFromProto(&m.Stdin, p.GetStdin()); err != nil {
		return jobs.Errorf(jobs.Invalid, "manifest: stdin: %w", err)
	}
	if err := blobFromProto(&m.Inputs, p.GetInputs()); err != nil {
		return jobs.Errorf(jobs.Invalid, "manifest: inputs: %w", err)
	}
	return nil
}

func blobToProto(b jobs.Blob) *gridv1.Blob {
	if b.IsZero() {
		return nil
	}
	return &gridv1.Blob{Digest: b.Digest[:], Size: b.Size}
}

// blobFromProto leaves b zero when p is absent. A present blob is never zero, so that both directions
// agree on what absent means.
func blobFromProto(b *jobs.Blob, p *gridv1.Blob) error {
	if p == nil {
		return nil
	}
	digest, err := jobs.DigestFromBytes(p.GetDigest())
	if err != nil {
		return err
	}
	*b = jobs.Blob{Digest: digest, Size: p.GetSize()}
	if b.IsZero() {
		return jobs.Errorf(jobs.Invalid, "the zero digest names no blob")
	}
	return nil
}
