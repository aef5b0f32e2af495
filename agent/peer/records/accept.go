package records

import (
	"bytes"
	"slices"
	"time"

	"idlegrid/agent/peer"
	"idlegrid/agent/peer/identity"
	"idlegrid/jobs"
	"idlegrid/jobs/manifest"
	"idlegrid/jobs/record"
	gridv1 "idlegrid/proto/grid/v1"
)

// maxSigners bounds signatures and chains on one record: a manifest has two of each.
const maxSigners = 4

// maxReceipts bounds the receipts with one report.
const maxReceipts = 8

// maxLater bounds the payload of a record of an unknown type, in bytes.
const maxLater = 16 << 10

// Record is what is stored and forwarded.
type Record struct {
	Envelope record.Envelope
	Receipts []record.Envelope // of a report: the holders' receipts for its pack
}

// Offer is a record on its way, with the certificate chains of its signers where the other side may lack
// them.
type Offer struct {
	Record
	Chains [][][]byte
}

// Refusal says why an offer was not kept.
type Refusal struct {
	ID     jobs.Digest
	Reason string
	Final  bool // offering it again will not help
}

// final reports whether an error can never become a yes.
func final(err error) bool {
	switch jobs.KindOf(err) {
	case jobs.Unavailable, jobs.Exhausted, jobs.NotFound, jobs.Internal:
		return false
	default:
		return true
	}
}

type author struct {
	identity.Caller
	chain [][]byte
}

// payload is one of *manifest.Manifest, *record.Report, *record.Ruling, *record.Cancel, *record.Seal, later.
type payload any

// later is a record of a type that this version does not know. It is kept and handed on byte for byte, within a bound
// of its own, and means nothing here.
type later struct{}

// accepted is a verified record.
type accepted struct {
	Record
	id         jobs.Digest
	job        jobs.JobID
	key        key
	payload    payload
	owner      string // of a report's author
	account    account
	cost       uint64 // of account's limit
	limit      uint64
	fresh      bool
	newChains  map[jobs.KeyID][][]byte
	newAuthors map[jobs.KeyID]author
}

func (a accepted) scope() Scope {
	if r, ok := a.payload.(*record.Report); ok {
		return Scope{Shard: jobs.ShardID{Job: a.job, Shard: r.Shard}, Reports: true}
	}
	return Scope{}
}

// decodePayload reads what the envelope says it is, without looking at signatures.
func decodePayload(r Record) (accepted, error) {
	a := accepted{Record: r, id: r.Envelope.ID()}
	var k kind
	var shard uint32
	var err error
	switch r.Envelope.Type {
	case record.TypeManifest:
		var m *manifest.Manifest
		m, err = manifest.Decode(r.Envelope.Payload)
		k, a.job, a.payload = kindManifest, jobs.JobID(a.id), m
	case record.TypeReport:
		var p *record.Report
		if p, err = record.DecodeReport(r.Envelope.Payload); err == nil {
			k, a.job, a.payload, shard = kindReport, p.Job, p, p.Shard
		}
	case record.TypeRuling:
		var p *record.Ruling
		if p, err = record.DecodeRuling(r.Envelope.Payload); err == nil {
			k, a.job, a.payload = kindRuling, p.Job, p
		}
	case record.TypeCancel:
		var p *record.Cancel
		if p, err = record.DecodeCancel(r.Envelope.Payload); err == nil {
			k, a.job, a.payload = kindCancel, p.Job, p
		}
	case record.TypeSeal:
		var p *record.Seal
		if p, err = record.DecodeSeal(r.Envelope.Payload); err == nil {
			k, a.job, a.payload = kindSeal, p.Job, p
		}
	case record.TypeReceipt, record.TypeCheckpoint:
		err = jobs.Errorf(jobs.Invalid, "%s is no record for a store", r.Envelope.Type)
	default:
		if len(r.Envelope.Payload) > maxLater {
			err = jobs.Errorf(jobs.Unsupported, "record of %d bytes, of type %.80q, which this version does not know: it keeps such of %d bytes at most",
				len(r.Envelope.Payload), r.Envelope.Type, maxLater)
			break
		}
		k, a.payload = kindLater, later{}
		a.job, err = record.JobOf(r.Envelope.Payload)
	}
	a.key = keyOf(a.job, k, shard, a.id)
	return a, err
}

// verify checks an offer from scratch, whoever brought it.
func (s *Store) verify(o Offer, now time.Time) (accepted, error) {
	if len(o.Envelope.Signatures) > maxSigners || len(o.Chains) > maxSigners || len(o.Receipts) > maxReceipts {
		return accepted{}, jobs.Errorf(jobs.Invalid, "record with %d signatures, %d chains, %d receipts is over the bounds",
			len(o.Envelope.Signatures), len(o.Chains), len(o.Receipts))
	}
	for _, r := range o.Receipts {
		if len(r.Payload) > record.MaxReceipt {
			return accepted{}, jobs.Errorf(jobs.Invalid, "receipt of %d bytes, expected at most %d", len(r.Payload), record.MaxReceipt)
		}
	}
	a, err := decodePayload(o.Record)
	if err != nil {
		return accepted{}, err
	}
	if err := s.learnChains(&a, o.Chains); err != nil {
		return accepted{}, err
	}
	switch p := a.payload.(type) {
	case *manifest.Manifest:
		err = s.verifyManifest(&a, p, now)
	case *record.Report:
		err = s.verifyReport(&a, p, now)
	default:
		err = s.verifyCommon(&a, now)
	}
	return a, err
}

// learnChains verifies the offered chains that are not known yet. Most are: every record brings its author's,
// and to verify one takes twice as long as to verify the record.
func (s *Store) learnChains(a *accepted, chains [][][]byte) error {
	a.newChains, a.newAuthors = map[jobs.KeyID][][]byte{}, map[jobs.KeyID]author{}
	for _, chain := range chains {
		if s.knownChain(a.Envelope, chain) {
			continue
		}
		who, err := s.verifyChain(chain)
		if err != nil {
			return err
		}
		if _, known := s.author(who.ID); !known {
			a.newChains[who.ID], a.newAuthors[who.ID] = chain, who
		}
	}
	return nil
}

// knownChain reports whether a chain is the one that is kept of a signer of the envelope.
func (s *Store) knownChain(e record.Envelope, chain [][]byte) bool {
	return slices.ContainsFunc(e.Signatures, func(sig record.Signature) bool {
		who, ok := s.author(sig.Signer())
		return ok && slices.EqualFunc(who.chain, chain, bytes.Equal)
	})
}

func (s *Store) verifyChain(chain [][]byte) (author, error) {
	who, err := identity.VerifyAuthor(chain, s.o.Root)
	if err != nil {
		return author{}, err
	}
	return author{Caller: who, chain: chain}, nil
}

func (s *Store) author(id jobs.KeyID) (author, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	a, ok := s.authors[id]
	return a, ok
}

// signer checks the signature by id and returns who that is. A record whose signer's chain is not here may
// be offered again with it.
func (s *Store) signer(a *accepted, id jobs.KeyID) (author, error) {
	if err := a.Envelope.Verify(id); err != nil {
		return author{}, err
	}
	if who, ok := a.newAuthors[id]; ok {
		return who, nil
	}
	who, ok := s.author(id)
	if !ok {
		return author{}, jobs.Errorf(jobs.NotFound, "no certificate of signer %s is known here", id.Short())
	}
	return who, nil
}

func (s *Store) verifyManifest(a *accepted, m *manifest.Manifest, now time.Time) error {
	if pastTime(m, now) {
		return jobs.Errorf(jobs.Expired, "job %s expired on %s", a.job.Short(), m.Expires.Format(time.DateTime))
	}
	who, err := s.signer(a, m.Submitter)
	if err != nil {
		return err
	}
	if who.Role != peer.Submitter {
		return jobs.Errorf(jobs.Denied, "job %s is signed by the %s %s, expected a submitter", a.job.Short(), who.Role, who.ID.Short())
	}
	if err := s.verifyAdmission(a); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.jobs) >= MaxJobs {
		return jobs.Errorf(jobs.Exhausted, "%d live jobs are known here, no room for more", len(s.jobs))
	}
	return nil
}

// verifyAdmission looks for the coordinator's countersignature.
func (s *Store) verifyAdmission(a *accepted) error {
	for _, sig := range a.Envelope.Signatures {
		who, err := s.signer(a, sig.Signer())
		if err != nil {
			return err
		}
		if who.Role == peer.Coordinator {
			return nil
		}
	}
	return jobs.Errorf(jobs.Denied, "job %s was not admitted by a coordinator", a.job.Short())
}

// verifyCommon checks a ruling, cancel, seal, or what a later version knows.
func (s *Store) verifyCommon(a *accepted, now time.Time) error {
	job, err := s.live(a.job, now)
	if err != nil {
		return err
	}
	switch p := a.payload.(type) {
	case later:
		err = s.verifyLater(a, job.Manifest)
	case *record.Cancel:
		err = s.verifyCancel(a, job.Manifest)
	case *record.Ruling:
		if last := p.Units[len(p.Units)-1].Unit; last >= job.Manifest.Units {
			return jobs.Errorf(jobs.Invalid, "ruling on unit %d, the job has %d", last, job.Manifest.Units)
		}
		_, err = s.signer(a, job.Manifest.Submitter)
	default:
		_, err = s.signer(a, job.Manifest.Submitter)
	}
	if err != nil {
		return err
	}
	a.charge(job.Manifest)
	return nil
}

// verifyLater checks that one who has to do with the job signed, and nobody else with them, as for a cancel. What
// they may say, a version that knows the type looks at.
func (s *Store) verifyLater(a *accepted, m *manifest.Manifest) error {
	who, err := s.onlySigner(a)
	if err != nil {
		return err
	}
	if who.Role == peer.Submitter && who.ID != m.Submitter {
		return jobs.Errorf(jobs.Denied, "record about job %s by the submitter %s, who is not its own", a.job.Short(), who.ID.Short())
	}
	return nil
}

// onlySigner returns who alone signed a record.
func (s *Store) onlySigner(a *accepted) (author, error) {
	if n := len(a.Envelope.Signatures); n != 1 {
		return author{}, jobs.Errorf(jobs.Invalid, "%s with %d signatures, expected one", a.Envelope.Type, n)
	}
	return s.signer(a, a.Envelope.Signatures[0].Signer())
}

// verifyCancel checks that the job's submitter or an operator signed, and nobody else with them: whose account
// the record counts for must not depend on what somebody added.
func (s *Store) verifyCancel(a *accepted, m *manifest.Manifest) error {
	who, err := s.onlySigner(a)
	if err != nil {
		return err
	}
	if who.ID != m.Submitter && who.Role != peer.Operator {
		return jobs.Errorf(jobs.Denied, "cancel of job %s by the %s %s, expected its submitter or an operator",
			a.job.Short(), who.Role, who.ID.Short())
	}
	return nil
}

func (s *Store) live(id jobs.JobID, now time.Time) (Job, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	j := s.jobs[id]
	switch {
	case j == nil:
		return Job{}, jobs.Errorf(jobs.NotFound, "no live job %s is known here", id.Short())
	case pastTime(j.Manifest, now):
		return Job{}, jobs.Errorf(jobs.Expired, "job %s has expired", id.Short())
	}
	return j.Job, nil
}

func (s *Store) verifyReport(a *accepted, r *record.Report, now time.Time) error {
	job, err := s.live(a.job, now)
	if err != nil {
		return err
	}
	who, err := s.signer(a, r.Author)
	if err != nil {
		return err
	}
	if who.Role != peer.Agent {
		return jobs.Errorf(jobs.Denied, "report by the %s %s, expected an agent", who.Role, who.ID.Short())
	}
	a.owner = who.Owner
	if err := unitsExist(job.Manifest, r); err != nil {
		return err
	}
	a.charge(job.Manifest)
	// Nobody will ask for the packs of a job that is cancelled or sealed, and holders take them no more.
	if r.Author == s.o.Self || s.o.Reader || s.isOver(a.job) {
		return nil
	}
	return s.verifyReceipts(a, r, now)
}

func (s *Store) isOver(id jobs.JobID) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	j := s.jobs[id]
	return j != nil && j.over()
}

// unitsExist checks that the report speaks of this job's shard only.
func unitsExist(m *manifest.Manifest, r *record.Report) error {
	if r.Shard >= m.Shards() {
		return jobs.Errorf(jobs.Invalid, "report of shard %d, the job has %d", r.Shard, m.Shards())
	}
	firstBundle, bundles := m.ShardRange(r.Shard)
	for _, b := range r.Bundles {
		if b.Bundle < firstBundle || b.Bundle >= firstBundle+bundles {
			return jobs.Errorf(jobs.Invalid, "report of bundle %d, which is not in shard %d", b.Bundle, r.Shard)
		}
		first, n := m.BundleUnits(b.Bundle)
		for _, u := range b.Units {
			if u.Unit < first || u.Unit >= first+n {
				return jobs.Errorf(jobs.Invalid, "report of unit %d, which is not in bundle %d", u.Unit, b.Bundle)
			}
		}
	}
	first, end := firstBundle*uint64(m.Bundle), (firstBundle+bundles)*uint64(m.Bundle)
	for _, l := range r.LostRuns {
		if l.Unit < first || l.Unit >= min(end, m.Units) {
			return jobs.Errorf(jobs.Invalid, "report of a run of unit %d, which is not in shard %d", l.Unit, r.Shard)
		}
	}
	return nil
}

func recordToProto(r Record, chains [][][]byte) *gridv1.Record {
	p := &gridv1.Record{Envelope: r.Envelope.ToProto()}
	for _, receipt := range r.Receipts {
		p.Receipts = append(p.Receipts, receipt.ToProto())
	}
	for _, c := range chains {
		p.Chains = append(p.Chains, &gridv1.Chain{Certificates: c})
	}
	return p
}

func offerFromProto(p *gridv1.Record) (Offer, error) {
	var o Offer
	var err error
	if o.Envelope, err = record.FromProto(p.GetEnvelope()); err != nil {
		return o, err
	}
	if len(p.GetReceipts()) > maxReceipts || len(p.GetChains()) > maxSigners {
		return o, jobs.Errorf(jobs.Invalid, "record with %d receipts and %d chains is over the bounds", len(p.GetReceipts()), len(p.GetChains()))
	}
	for _, r := range p.GetReceipts() {
		env, err := record.FromProto(r)
		if err != nil {
			return o, err
		}
		o.Receipts = append(o.Receipts, env)
	}
	for _, c := range p.GetChains() {
		o.Chains = append(o.Chains, c.GetCertificates())
	}
	return o, nil
}
