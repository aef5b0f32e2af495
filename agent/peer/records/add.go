package records

import (
	"context"
	"fmt"
	"time"

	"idlegrid/agent/peer/failpoint"
	"idlegrid/jobs"
	"idlegrid/jobs/ledger"
	"idlegrid/jobs/manifest"
	"idlegrid/jobs/record"
)

// Add verifies offers and keeps the good ones; it returns after they are on disk. Manifests come first, so
// that what else is offered with them finds its job. The error is that the disk failed or ctx has ended; what
// kept names then is kept all the same.
func (s *Store) Add(ctx context.Context, offers []Offer, fresh bool) (kept []jobs.Digest, refused []Refusal, err error) {
	var manifests, others []Offer
	for _, o := range offers {
		if o.Envelope.Type == record.TypeManifest {
			manifests = append(manifests, o)
		} else {
			others = append(others, o)
		}
	}
	for _, part := range [][]Offer{manifests, others} {
		k, r, err := s.add(ctx, part, fresh)
		kept, refused = append(kept, k...), append(refused, r...)
		if err != nil {
			return kept, refused, err
		}
	}
	return kept, refused, nil
}

// add is Add for offers that do not need each other.
func (s *Store) add(ctx context.Context, offers []Offer, fresh bool) (kept []jobs.Digest, refused []Refusal, err error) {
	var add []accepted
	done := map[jobs.Digest]bool{}
	for _, o := range offers {
		id := o.Envelope.ID()
		if done[id] {
			continue
		}
		if s.has(id) {
			done[id] = true
			kept = append(kept, id)
			if fresh {
				s.refresh(id)
			}
			continue
		}
		a, err := s.verify(o, s.o.Wall())
		if err == nil {
			err = s.reserve(a)
		}
		if err != nil {
			refused = append(refused, Refusal{ID: id, Reason: jobs.Outside(err), Final: final(err)})
			continue
		}
		done[id] = true
		a.fresh = fresh
		add = append(add, a)
	}
	if len(add) == 0 {
		return kept, refused, nil
	}
	if err := s.keep(ctx, add); err != nil {
		return kept, refused, err
	}
	for _, a := range add {
		kept = append(kept, a.id)
	}
	return kept, refused, nil
}

// keep writes verified records, then brings them into memory and tells of them.
func (s *Store) keep(ctx context.Context, add []accepted) error {
	err := ctx.Err()
	if err == nil {
		failpoint.Hit("records.writing")
		err = s.write(add)
	}
	if err == nil {
		failpoint.Hit("records.written")
	}
	changes := map[Change]struct{}{}
	s.mu.Lock()
	for _, a := range add {
		if err != nil {
			s.release(a)
			continue
		}
		s.apply(a)
		changes[a.change()] = struct{}{}
	}
	s.mu.Unlock()
	if err != nil {
		return fmt.Errorf("write records: %w", err)
	}
	for c := range changes {
		s.changed(c)
	}
	return nil
}

// change is what to tell of a record that was added.
func (a accepted) change() Change {
	c := Change{Job: a.job, Scope: a.scope(), Fresh: a.fresh}
	switch a.payload.(type) {
	case *record.Cancel, *record.Seal:
		c.Ended = a.id
	}
	return c
}

// refresh notes that a manifest which is here already is new to the grid: the coordinator pushes it twice,
// first so that its blobs are taken, then when they are all in place.
func (s *Store) refresh(id jobs.Digest) {
	s.mu.Lock()
	job := s.jobs[jobs.JobID(id)]
	if job != nil {
		job.Fresh = time.Now()
	}
	s.mu.Unlock()
	if job != nil {
		s.changed(Change{Fresh: true, Job: jobs.JobID(id)})
	}
}

func (s *Store) changed(c Change) {
	if s.o.OnChange != nil {
		s.o.OnChange(c)
	}
}

// apply brings a verified record, which is counted in its account, into memory. One that another caller has
// brought meanwhile changes nothing. The caller holds the lock or is alone.
func (s *Store) apply(a accepted) {
	for id, author := range a.newAuthors {
		s.authors[id] = author
	}
	if m, ok := a.payload.(*manifest.Manifest); ok {
		if s.jobs[a.job] == nil {
			s.jobs[a.job] = &liveJob{Job: Job{ID: a.job, Manifest: m}, ledgers: map[uint32]*ledger.Ledger{}}
		}
		if a.fresh {
			s.jobs[a.job].Fresh = time.Now()
		}
	}
	job := s.jobs[a.job]
	if _, known := s.index[a.id]; known || job == nil { // without a job: it was swept while this was verified
		s.release(a)
		return
	}
	s.index[a.id] = a.key
	scope := s.scopes[a.scope()]
	if scope == nil {
		scope = &scopeIDs{ids: map[jobs.Digest]struct{}{}}
		s.scopes[a.scope()] = scope
	}
	scope.ids[a.id] = struct{}{}
	scope.digest = nil
	switch p := a.payload.(type) {
	case *record.Report:
		l := job.ledger(p.Shard)
		job.ledgers[p.Shard] = l
		if failpoint.Planted("records.first") && isSettled(l, p) { // who comes first wins for good
			return
		}
		if _, err := l.AddReport(a.id, p, a.owner); err != nil {
			// unitsExist let through what the ledger does not take: a mistake of this program.
			s.log.Error("ledger refuses a verified report", "id", a.id, "err", err)
		}
	case *record.Ruling, *record.Cancel, *record.Seal:
		job.addCommon(commonRecord{a.id, p})
	}
}

// isSettled reports whether units of a report are accepted already: for a planted bug.
func isSettled(l *ledger.Ledger, r *record.Report) bool {
	for _, b := range r.Bundles {
		for _, u := range b.Units {
			if l.Unit(u.Unit, time.Now()).Status == ledger.Accepted {
				return true
			}
		}
	}
	return false
}

func (j *liveJob) addCommon(c commonRecord) {
	j.common = append(j.common, c)
	for _, l := range j.ledgers {
		c.applyTo(l)
	}
	switch c.payload.(type) {
	case *record.Cancel:
		j.dead = true
	case *record.Seal:
		j.sealed = true
	}
	if j.over() && j.ended.IsZero() {
		j.ended = time.Now()
	}
}

func (c commonRecord) applyTo(l *ledger.Ledger) {
	switch p := c.payload.(type) {
	case *record.Ruling:
		l.AddRuling(c.id, p)
	case *record.Cancel:
		l.Cancel()
	case *record.Seal:
		l.Seal()
	}
}

// ledger returns the shard's ledger. That of a shard without reports is made each time and not kept, so that
// nobody makes a peer hold ledgers by asking for them.
func (j *liveJob) ledger(shard uint32) *ledger.Ledger {
	if l := j.ledgers[shard]; l != nil {
		return l
	}
	l := ledger.New(ledger.TermsOf(j.ID, j.Manifest, shard))
	for _, c := range j.common {
		c.applyTo(l)
	}
	return l
}

func (s *Store) has(id jobs.Digest) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, ok := s.index[id]
	return ok
}
