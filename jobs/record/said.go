package record

import (
	"unicode/utf8"

	"idlegrid/jobs"
	gridv1 "idlegrid/proto/grid/v1"
)

// Receipt is a holder's word that it keeps a blob of a job.
type Receipt struct {
	Holder jobs.AgentID
	Blob   jobs.Blob
	Job    jobs.JobID
}

// Ruling is the submitter's word on which of several outcomes stands. Of two rulings on a unit the one with
// the higher (Sequence, ID) counts.
type Ruling struct {
	Job      jobs.JobID
	Sequence uint64
	Units    []RuledUnit
}

// RuledUnit is one line of a ruling.
type RuledUnit struct {
	Unit    uint64
	Outcome jobs.Digest
}

// Cancel ends a job.
type Cancel struct{ Job jobs.JobID }

// Seal is the submitter's "I have the results".
type Seal struct{ Job jobs.JobID }

// JobOf reads the job that a record of a type which this version does not know is about: every record about a job
// but its manifest names it in its first field.
func JobOf(b []byte) (jobs.JobID, error) {
	var p gridv1.Cancel
	if err := unmarshal("record", b, &p, MaxPayload); err != nil {
		return jobs.JobID{}, err
	}
	return decodeJob("record", p.GetJob())
}

// Encode returns the receipt's payload.
func (r *Receipt) Encode() []byte {
	return marshal(&gridv1.Receipt{Holder: r.Holder[:], Blob: BlobToProto(r.Blob), Job: r.Job[:]})
}

// DecodeReceipt reads a receipt's payload.
func DecodeReceipt(b []byte) (*Receipt, error) {
	var p gridv1.Receipt
	if err := unmarshal("receipt", b, &p, MaxReceipt); err != nil {
		return nil, err
	}
	blob, err := BlobFromProto(p.GetBlob())
	if err != nil {
		return nil, jobs.Errorf(jobs.Invalid, "receipt: %w", err)
	}
	holder, err := jobs.KeyIDFromBytes(p.GetHolder())
	if err != nil {
		return nil, jobs.Errorf(jobs.Invalid, "receipt: holder: %w", err)
	}
	job, err := decodeJob("receipt", p.GetJob())
	if err != nil {
		return nil, err
	}
	if holder.IsZero() || blob.Digest.IsZero() {
		return nil, jobs.Errorf(jobs.Invalid, "receipt: without a holder or a blob")
	}
	return &Receipt{Holder: holder, Blob: blob, Job: job}, nil
}

// Encode returns the ruling's payload.
func (r *Ruling) Encode() []byte {
	p := &gridv1.Ruling{Job: r.Job[:], Sequence: r.Sequence, Units: make([]*gridv1.RuledUnit, len(r.Units))}
	for i := range r.Units {
		p.Units[i] = &gridv1.RuledUnit{Unit: r.Units[i].Unit, Outcome: r.Units[i].Outcome[:]}
	}
	return marshal(p)
}

// DecodeRuling reads a ruling's payload. Its units are in ascending order, each once, so that a ruling says
// one thing about a unit.
func DecodeRuling(b []byte) (*Ruling, error) {
	var p gridv1.Ruling
	if err := unmarshal("ruling", b, &p, MaxPayload); err != nil {
		return nil, err
	}
	job, err := decodeJob("ruling", p.GetJob())
	if err != nil {
		return nil, err
	}
	if n := len(p.GetUnits()); n == 0 || n > MaxRulingUnits {
		return nil, jobs.Errorf(jobs.Invalid, "ruling: %d units, expected 1 to %d", n, MaxRulingUnits)
	}
	r := &Ruling{Job: job, Sequence: p.GetSequence(), Units: make([]RuledUnit, len(p.GetUnits()))}
	for i, u := range p.GetUnits() {
		outcome, err := jobs.DigestFromBytes(u.GetOutcome())
		if err != nil {
			return nil, jobs.Errorf(jobs.Invalid, "ruling: unit %d: %w", u.GetUnit(), err)
		}
		if i > 0 && u.GetUnit() <= r.Units[i-1].Unit {
			return nil, jobs.Errorf(jobs.Invalid, "ruling: unit %d after unit %d, expected ascending order", u.GetUnit(), r.Units[i-1].Unit)
		}
		r.Units[i] = RuledUnit{Unit: u.GetUnit(), Outcome: outcome}
	}
	return r, nil
}

// Encode returns the cancel's payload.
func (c *Cancel) Encode() []byte { return marshal(&gridv1.Cancel{Job: c.Job[:]}) }

// DecodeCancel reads a cancel's payload.
func DecodeCancel(b []byte) (*Cancel, error) {
	var p gridv1.Cancel
	if err := unmarshal("cancel", b, &p, MaxPayload); err != nil {
		return nil, err
	}
	job, err := decodeJob("cancel", p.GetJob())
	if err != nil {
		return nil, err
	}
	return &Cancel{Job: job}, nil
}

// Encode returns the seal's payload.
func (s *Seal) Encode() []byte { return marshal(&gridv1.Seal{Job: s.Job[:]}) }

// DecodeSeal reads a seal's payload.
func DecodeSeal(b []byte) (*Seal, error) {
	var p gridv1.Seal
	if err := unmarshal("seal", b, &p, MaxPayload); err != nil {
		return nil, err
	}
	job, err := decodeJob("seal", p.GetJob())
	if err != nil {
		return nil, err
	}
	return &Seal{Job: job}, nil
}

func decodeJob(what string, b []byte) (jobs.JobID, error) {
	id, err := jobs.JobIDFromBytes(b)
	if err != nil {
		return id, jobs.Errorf(jobs.Invalid, "%s: job: %w", what, err)
	}
	if id.IsZero() {
		return id, jobs.Errorf(jobs.Invalid, "%s: without a job", what)
	}
	return id, nil
}

// BlobToProto returns the blob as the protocol has it; the zero blob is nil.
func BlobToProto(b jobs.Blob) *gridv1.Blob {
	if b.IsZero() {
		return nil
	}
	return &gridv1.Blob{Digest: b.Digest[:], Size: b.Size}
}

// BlobFromProto checks a blob's name; nil is the zero blob.
func BlobFromProto(p *gridv1.Blob) (jobs.Blob, error) {
	if p == nil {
		return jobs.Blob{}, nil
	}
	d, err := jobs.DigestFromBytes(p.GetDigest())
	if err != nil {
		return jobs.Blob{}, jobs.Errorf(jobs.Invalid, "blob: %w", err)
	}
	if d.IsZero() || p.GetSize() < 0 {
		return jobs.Blob{}, jobs.Errorf(jobs.Invalid, "blob %s of %d bytes", d, p.GetSize())
	}
	return jobs.Blob{Digest: d, Size: p.GetSize()}, nil
}

// FailureToProto returns the failure as the protocol has it; no failure is nil.
func FailureToProto(f jobs.Failure) *gridv1.Failure {
	if !f.Failed() {
		return nil
	}
	return &gridv1.Failure{Kind: gridv1.FailureKind(f.Kind), Text: f.Text}
}

// FailureFromProto checks a failure; nil is none.
func FailureFromProto(p *gridv1.Failure) (jobs.Failure, error) {
	if p == nil {
		return jobs.Failure{}, nil
	}
	if p.GetKind() < 1 || p.GetKind() > gridv1.FailureKind(jobs.FailureInput) {
		return jobs.Failure{}, jobs.Errorf(jobs.Invalid, "failure kind %d, expected 1 to %d", p.GetKind(), jobs.FailureInput)
	}
	if len(p.GetText()) > jobs.MaxFailureText || !utf8.ValidString(p.GetText()) {
		return jobs.Failure{}, jobs.Errorf(jobs.Invalid, "failure text of %d bytes, expected at most %d of UTF-8",
			len(p.GetText()), jobs.MaxFailureText)
	}
	return jobs.Failure{Kind: jobs.FailureKind(p.GetKind()), Text: p.GetText()}, nil
}
