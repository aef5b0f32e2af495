package records_test

import (
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"idlegrid/agent/peer"
	"idlegrid/agent/peer/records"
	"idlegrid/jobs"
	"idlegrid/jobs/manifest"
	"idlegrid/jobs/record"
)

// TestReceiptsOfThoseWhoLeft holds that a copy on a PC that is off counts for 120 hours, a restart between, and
// not where the PC was never seen.
func TestReceiptsOfThoseWhoLeft(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		options := w.options()
		j := w.job(func(m *manifest.Manifest) { m.Expires = m.Created.Add(10 * 24 * time.Hour) })
		s := w.open(options)
		w.add(s, j.offer)
		see := func() {
			t.Helper()
			if err := s.See(time.Now()); err != nil {
				t.Fatal(err)
			}
		}
		kept := func(when string, want bool) {
			t.Helper()
			kept, refused, err := s.Add(t.Context(), []records.Offer{j.offered(j.report())}, false)
			if err != nil || (len(kept) == 1) != want || len(refused) > 0 && refused[0].Final {
				t.Errorf("%s: kept %v, refused %v, %v", when, kept, refused, err)
			}
		}
		all := slices.Clone(w.pool)
		others := slices.DeleteFunc(slices.Clone(all), func(m peer.Member) bool { return m.ID == w.agents[1].ID() })
		w.pool = others
		see()
		kept("a holder was never seen", false)
		w.pool = all
		time.Sleep(time.Minute) // disks are not for every newcomer
		see()
		w.pool = others
		kept("a holder just left", true)
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		s = w.open(options)
		kept("a holder left, restarted", true)
		time.Sleep(119 * time.Hour)
		kept("a holder is off for 119 hours", true)
		time.Sleep(2 * time.Hour)
		kept("a holder is off for 121 hours", false)
		see()
		kept("a holder is forgotten", false)
	})
}

// TestSeenIsBounded holds that a peer remembers so many agents and not more, those that it saw last.
func TestSeenIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		j := w.job()
		s := w.store()
		w.add(s, j.offer)
		all := w.pool
		early := jobs.AgentID{1}
		w.pool = append(slices.Clone(all), peer.Member{ID: early, Role: peer.Agent, Class: peer.AlwaysOn, Reachable: true})
		for n := range records.MaxSeen + 10 {
			if n%500 == 0 {
				time.Sleep(time.Minute)
				if err := s.See(time.Now()); err != nil {
					t.Fatal(err)
				}
				w.pool = slices.Clone(all)
			}
			id := jobs.AgentID(jobs.DigestOf([]byte{byte(n), byte(n >> 8)}))
			w.pool = append(w.pool, peer.Member{ID: id, Role: peer.Agent, Class: peer.AlwaysOn, Reachable: true})
		}
		if err := s.See(time.Now()); err != nil {
			t.Fatal(err)
		}
		if n := s.Seen(); n != records.MaxSeen {
			t.Errorf("%d agents are remembered", n)
		}
	})
}

// TestAddReceipts holds that a report whose holders left counts again with receipts of those who are here.
func TestAddReceipts(t *testing.T) {
	w := newWorld(t)
	author, steward := w.store(), w.store()
	j := w.job()
	w.add(author, j.offer)
	w.add(steward, j.offer)
	o := j.offered(j.report())
	w.add(author, o)
	id := o.Envelope.ID()
	w.pool = slices.Delete(slices.Clone(w.pool), 1, 2) // one of its two holders
	r, holders, enough, err := author.Holders(id)
	if err != nil || enough || len(holders) != 2 || r.Pack.Size == 0 {
		t.Fatalf("holders %v, enough %v, %v", holders, enough, err)
	}
	w.check(steward, []records.Scope{j.reports(0)}, []refusal{{"one holder left", o, "2 are needed", false}})
	env := j.receipt(w.agents[3], r.Pack)
	for range 3 { // again changes nothing
		all, err := author.AddReceipts(id, []record.Envelope{env})
		if err != nil || len(all) != 3 {
			t.Fatalf("%d receipts, %v", len(all), err)
		}
	}
	if _, holders, enough, err = author.Holders(id); err != nil || !enough || len(holders) != 3 {
		t.Errorf("holders %v, enough %v, %v", holders, enough, err)
	}
	offer, err := author.Get(id)
	if err != nil {
		t.Fatal(err)
	}
	w.add(steward, offer)
	if _, err := author.AddReceipts(jobs.Digest{1}, nil); jobs.KindOf(err) != jobs.NotFound {
		t.Errorf("receipts of nothing: %v", err)
	}
	if _, _, _, err := author.Holders(j.offer.Envelope.ID()); jobs.KindOf(err) != jobs.Invalid {
		t.Errorf("holders of a manifest: %v", err)
	}
}
