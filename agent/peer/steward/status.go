package steward

import (
	"maps"
	"slices"
	"time"

	"idlegrid/agent/peer"
	"idlegrid/agent/peer/records"
	"idlegrid/jobs"
	"idlegrid/jobs/ledger"
	gridv1 "idlegrid/proto/grid/v1"
)

// maxLooks bounds the shards that Stewardships looks at.
const maxLooks = 512

// Stewardship is a shard that this agent keeps the ledger of.
type Stewardship struct {
	Job     records.Job
	Shard   uint32
	Rank    int // 1: the first steward
	Open    uint64
	Lent    int // bundles
	Lessees int
}

// Stewardships lists the shards that placement gives to this agent, those of the newest jobs first. More says
// that there were too many shards to look at all.
func (s *Steward) Stewardships() (list []Stewardship, more bool) {
	now := time.Now()
	members := s.o.Members()
	live := s.o.Store.Jobs(true)
	slices.Reverse(live)
	looks := 0
	for _, job := range live {
		for n := range job.Manifest.Shards() {
			if looks++; looks > maxLooks {
				return list, true
			}
			shard := jobs.ShardID{Job: job.ID, Shard: n}
			i := slices.IndexFunc(peer.Stewards(shard, members), func(m peer.Member) bool { return m.ID == s.o.Self })
			if i < 0 {
				continue
			}
			st := Stewardship{Job: job, Shard: n, Rank: i + 1}
			if err := s.o.Store.WithLedger(shard, func(l *ledger.Ledger) { st.Open = l.Counts(now).Open }); err != nil {
				continue // the job ended meanwhile
			}
			st.Lent, st.Lessees = s.lent(shard, now)
			list = append(list, st)
		}
	}
	return list, false
}

// lent returns how many bundles of a shard are lent, and to how many agents.
func (s *Steward) lent(shard jobs.ShardID, now time.Time) (bundles, agents int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	l := s.shards[shard]
	if l == nil {
		return 0, 0
	}
	l.expire(now)
	return len(l.lent), len(l.holders())
}

// MaxLentUnits bounds the lent units that a summary tells of one by one.
const MaxLentUnits = 64

// lentUnits tells of the first open units that are lent, and of their newest checkpoints. The caller holds the lock.
func (s *Steward) lentUnits(l *lender, led *ledger.Ledger, shard jobs.ShardID, most int, now time.Time) (list []*gridv1.LentUnit) {
	for _, bundle := range slices.Sorted(maps.Keys(l.lent)) {
		agent := l.lent[bundle]
		first, n := l.m.BundleUnits(bundle)
		for unit := first; unit < first+n; unit++ {
			if len(list) == most {
				return list
			}
			if led.Unit(unit, now).Status != ledger.Open {
				continue
			}
			u := &gridv1.LentUnit{Unit: unit, Agent: agent[:]}
			if notes := s.notes.units[shard][unit]; len(notes) > 0 && notes[0].Attempt == led.Attempt(bundle) {
				age := uint64(max(0, now.Sub(notes[0].came).Milliseconds()))
				u.SavedAgeMs, u.SavedCpuUs, u.SavedBytes = &age, uint64(notes[0].CPU.Microseconds()), uint64(notes[0].Bytes())
			}
			list = append(list, u)
		}
	}
	return list
}
