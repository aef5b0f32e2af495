package records

import (
	"encoding/binary"
	"maps"
	"slices"
	"time"

	"go.etcd.io/bbolt"
	"google.golang.org/protobuf/proto"

	"idlegrid/agent/peer"
	"idlegrid/jobs"
	"idlegrid/jobs/record"
)

const (
	// seenFor is how long a copy counts on a PC that is off.
	seenFor = 120 * time.Hour
	// maxSeen bounds the agents that are remembered: twice what a pool can have.
	maxSeen = 2000
	// saveSeen is how old the times on disk may get, and so by how much less a copy counts after a restart: a twentieth of
	// seenFor, so that a pool at rest writes seldom. saveNew is how soon those are written that are new there.
	saveSeen = 6 * time.Hour
	saveNew  = time.Minute
)

// holders is which agents may hold blobs, now or lately, as this peer saw them.
type holders struct {
	last  map[jobs.AgentID]sighting
	saved time.Time
	fresh bool // some are not on disk
}

// sighting is when an agent was seen last that may hold blobs, and as what.
type sighting struct {
	at    time.Time
	class peer.Class
}

// See notes which members may hold blobs now, and writes that down now and then. It is to be called when the pool
// changed and every few minutes.
func (s *Store) See(now time.Time) error {
	members := s.o.Members()
	s.mu.Lock()
	h := &s.holders
	for _, m := range members {
		if m.Eligible() {
			_, known := h.last[m.ID]
			h.fresh = h.fresh || !known
			h.last[m.ID] = sighting{now, m.Class}
		}
	}
	h.forget(now)
	age := now.Sub(h.saved)
	due := age >= saveSeen || h.fresh && age >= saveNew
	var values map[jobs.AgentID]sighting
	if due {
		values, h.fresh, h.saved = maps.Clone(h.last), false, now
	}
	s.mu.Unlock()
	if !due {
		return nil
	}
	return s.update(s.db.Update, func(tx *bbolt.Tx) error { return writeSeen(tx, values) })
}

// forget drops those whose copies no longer count, and the oldest where there are too many.
func (h *holders) forget(now time.Time) {
	var all []time.Time
	for id, seen := range h.last {
		if now.Sub(seen.at) > seenFor {
			delete(h.last, id)
			continue
		}
		all = append(all, seen.at)
	}
	if len(all) <= maxSeen {
		return
	}
	slices.SortFunc(all, time.Time.Compare)
	for id, seen := range h.last {
		if len(h.last) > maxSeen && !seen.at.After(all[len(all)-maxSeen-1]) {
			delete(h.last, id)
		}
	}
}

func writeSeen(tx *bbolt.Tx, values map[jobs.AgentID]sighting) error {
	if err := tx.DeleteBucket(bucketSeen); err != nil {
		return err
	}
	b, err := tx.CreateBucket(bucketSeen)
	if err != nil {
		return err
	}
	for id, seen := range values {
		value := append(binary.BigEndian.AppendUint64(nil, uint64(seen.at.Unix())), byte(seen.class))
		if err := b.Put(id[:], value); err != nil {
			return err
		}
	}
	return nil
}

// loadSeen reads what See wrote. What cannot be read is as if it had not been seen. Versions before this one wrote no
// class.
func (s *Store) loadSeen(tx *bbolt.Tx) error {
	return tx.Bucket(bucketSeen).ForEach(func(k, v []byte) error {
		if id, err := jobs.KeyIDFromBytes(k); err == nil && len(v) >= 8 {
			seen := sighting{at: time.Unix(int64(binary.BigEndian.Uint64(v)), 0), class: peer.Office}
			if len(v) > 8 {
				seen.class = peer.Class(v[8])
			}
			s.holders.last[id] = seen
		}
		return nil
	})
}

// holdersOf returns who has a report's pack by receipts that are good.
func holdersOf(receipts []record.Envelope, r *record.Report) ([]jobs.AgentID, error) {
	var out []jobs.AgentID
	for _, env := range receipts {
		rec, err := record.DecodeReceipt(env.Payload)
		if err != nil {
			return nil, err
		}
		if env.Type != record.TypeReceipt || rec.Blob != r.Pack || rec.Job != r.Job {
			return nil, jobs.Errorf(jobs.Invalid, "receipt is not for pack %s", r.Pack)
		}
		if err := env.Verify(rec.Holder); err != nil {
			return nil, err
		}
		if !slices.Contains(out, rec.Holder) {
			out = append(out, rec.Holder)
		}
	}
	return out, nil
}

// verifyReceipts demands receipts for the pack by enough distinct agents that may hold blobs now, or could within
// the last days, the author included. Only fewer receipts than needed may be mended by offering again. A report without
// outcomes has no pack.
func (s *Store) verifyReceipts(a *accepted, r *record.Report, now time.Time) error {
	who, err := holdersOf(a.Receipts, r)
	if err != nil {
		return err
	}
	if r.Pack.IsZero() {
		return nil
	}
	members := s.o.Members()
	counted := 0
	s.mu.Lock()
	for _, id := range who {
		if last, seen := s.holders.last[id]; eligible(members, id) || seen && now.Sub(last.at) <= seenFor {
			counted++
		}
	}
	s.mu.Unlock()
	if need := peer.Needed(members); counted < need {
		return jobs.Errorf(jobs.Unavailable, "pack %s has receipts of %d holders here, %d are needed", r.Pack.Digest, counted, need)
	}
	return nil
}

func eligible(members []peer.Member, id jobs.AgentID) bool {
	return slices.ContainsFunc(members, func(m peer.Member) bool { return m.ID == id && m.Eligible() })
}

// SeenLately reports whether the copies of an agent count that may be off.
func (s *Store) SeenLately(id jobs.AgentID, now time.Time) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	last, seen := s.holders.last[id]
	return seen && now.Sub(last.at) <= seenFor
}

// Lately returns the agents whose copies of blobs count, those that are off among them, as members that may hold blobs.
func (s *Store) Lately(now time.Time) []peer.Member {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []peer.Member
	for id, last := range s.holders.last {
		if now.Sub(last.at) <= seenFor {
			out = append(out, peer.Member{ID: id, Role: peer.Agent, Class: last.class, Reachable: true})
		}
	}
	return out
}

// Holders returns a report that is kept here and who holds its pack by the receipts with it. Enough says that so
// many of them may hold blobs now that nobody can refuse it for want of receipts, as far as this peer sees.
func (s *Store) Holders(id jobs.Digest) (r *record.Report, holders []jobs.AgentID, enough bool, err error) {
	o, err := s.Get(id)
	if err != nil {
		return nil, nil, false, err
	}
	if o.Envelope.Type != record.TypeReport {
		return nil, nil, false, jobs.Errorf(jobs.Invalid, "%s is no report", id)
	}
	if r, err = record.DecodeReport(o.Envelope.Payload); err != nil {
		return nil, nil, false, err
	}
	if holders, err = holdersOf(o.Receipts, r); err != nil {
		return nil, nil, false, err
	}
	members := s.o.Members()
	here := slices.DeleteFunc(slices.Clone(holders), func(id jobs.AgentID) bool { return !eligible(members, id) })
	return r, holders, r.Pack.IsZero() || len(here) >= peer.Needed(members), nil
}

// AddReceipts keeps verified receipts with a report, the newest first, and returns all that are kept with it.
func (s *Store) AddReceipts(id jobs.Digest, receipts []record.Envelope) ([]record.Envelope, error) {
	s.mu.Lock()
	k, ok := s.index[id]
	s.mu.Unlock()
	if !ok {
		return nil, jobs.Errorf(jobs.NotFound, "no record %s is kept here", id)
	}
	var kept []record.Envelope
	err := s.update(s.db.Update, func(tx *bbolt.Tx) error {
		b := tx.Bucket(bucketRecords)
		r, err := decodeStored(b.Get(k[:]))
		if err != nil {
			return err
		}
		kept = joinReceipts(receipts, r.Receipts)
		value, err := proto.Marshal(recordToProto(Record{Envelope: r.Envelope, Receipts: kept}, nil))
		if err != nil {
			return err
		}
		return b.Put(k[:], value)
	})
	return kept, err
}

// joinReceipts unites receipts, one for each holder, within the bound.
func joinReceipts(newer, older []record.Envelope) []record.Envelope {
	var out []record.Envelope
	for _, env := range slices.Concat(newer, older) {
		known := slices.ContainsFunc(out, func(o record.Envelope) bool { return sameSigner(o, env) })
		if !known && len(out) < maxReceipts {
			out = append(out, env)
		}
	}
	return out
}

func sameSigner(a, b record.Envelope) bool {
	return len(a.Signatures) > 0 && len(b.Signatures) > 0 && a.Signatures[0].Signer() == b.Signatures[0].Signer()
}
