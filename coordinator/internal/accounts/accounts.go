package accounts

import (
	"context"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"go.etcd.io/bbolt"

	"idlegrid/agent/peer/records"
	"idlegrid/jobs"
	"idlegrid/jobs/ledger"
	"idlegrid/jobs/record"
)

const (
	// saveEvery is how often what changed is written.
	saveEvery = time.Minute
	// maxGap bounds the time between two looks in which agents count as offering what they offer now: with a longer one
	// this machine has slept, or hung.
	maxGap = 5 * time.Minute
	// settleNew is how long a coordinator without a file waits before it shows counters: its jobs come back from the
	// agents by then. settleMost is how long others wait for stewards that do not answer.
	settleNew  = 3 * time.Minute
	settleMost = 10 * time.Minute
)

// Options say what a Book needs.
type Options struct {
	Path  string                     // of the file
	Owner func(by jobs.KeyID) string // in the certificate of a submitter; empty: none is known
	// Submitters says that there is a metric by submitter, which has people's names in it.
	Submitters bool
	Log        *slog.Logger
}

// Look is what was seen at one moment.
type Look struct {
	Jobs     []records.Job                       // all that have not expired
	Accounts map[jobs.ShardID][]ledger.HourSpend // of the shards whose stewards answered
	Cores    int                                 // that agents offer
}

// Book is the account book. It is safe for concurrent use.
type Book struct {
	o    Options
	log  *slog.Logger
	db   *bbolt.DB
	made bool // the file is new
	born time.Time

	mu sync.Mutex // guards everything below, and writing
	kept
	looked  time.Time         // last
	pending map[uint32]uint64 // offered, by hour, in microseconds of cores, that is not on disk
	shown   atomic.Pointer[map[series]uint64]
	ready   bool // counters may be shown
	failing bool // the last write failed
}

// kept is what is also on disk, rows aside.
type kept struct {
	jobs     map[jobs.JobID]*job
	folded   map[jobs.JobID]time.Time // expired jobs whose accounts are in rows, and when that was done
	totals   map[whose]total          // of folded jobs
	counters map[series]uint64        // microseconds, or runs
	rows     int
}

// whose is what a row is about, beside its hour.
type whose struct {
	submitter jobs.KeyID
	runtime   string
}

type total struct {
	owner string
	ledger.Spend
}

// job is a job that has not been folded.
type job struct {
	whose
	owner   string
	expires time.Time
	account []ledger.HourSpend            // when all shards were known last
	shards  map[uint32][]ledger.HourSpend // since the start
	all     uint32                        // shards that there are
	dirty   bool                          // account is not on disk
}

// New opens the file, or makes one.
func New(o Options) (*Book, error) {
	b := &Book{o: o, log: o.Log.With("component", "accounts"), born: time.Now(), pending: map[uint32]uint64{}}
	if err := b.open(); err != nil {
		return nil, err
	}
	return b, nil
}

// Close closes the file, without another write. Twice is harmless.
func (b *Book) Close() error { return b.db.Close() }

// Run writes what changes until ctx ends, and a last time then.
func (b *Book) Run(ctx context.Context) {
	ticker := time.NewTicker(saveEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			b.save(time.Now())
			return
		case <-ticker.C:
			b.save(time.Now())
		}
	}
}

// Saw takes what was seen.
func (b *Book) Saw(l Look, now time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if gap := now.Sub(b.looked); !b.looked.IsZero() && gap > 0 && gap <= maxGap {
		b.pending[record.HourOf(now)] += uint64(l.Cores) * uint64(gap.Microseconds())
	}
	b.looked = now
	whole := true
	for _, seen := range l.Jobs {
		j := b.jobOf(seen)
		if j == nil {
			continue
		}
		for n := range j.all {
			if account, ok := l.Accounts[jobs.ShardID{Job: seen.ID, Shard: n}]; ok {
				j.shards[n] = account
			}
		}
		j.sum()
		whole = whole && j.account != nil
	}
	age := now.Sub(b.born)
	b.ready = b.ready || whole && (!b.made || age >= settleNew) || age >= settleMost
}

// jobOf returns the account of a live job; nil: it was folded, and lives again by some clock.
func (b *Book) jobOf(seen records.Job) *job {
	if _, folded := b.folded[seen.ID]; folded {
		return nil
	}
	m := seen.Manifest
	j := b.jobs[seen.ID]
	if j == nil {
		j = &job{whose: whose{m.Submitter, m.Runtime}, expires: m.Expires}
		b.jobs[seen.ID] = j
	}
	if j.shards == nil {
		j.shards, j.all = map[uint32][]ledger.HourSpend{}, m.Shards()
	}
	if owner := b.o.Owner(m.Submitter); owner != "" && owner != j.owner {
		j.owner, j.dirty = owner, true
	}
	return j
}

// unsaved reports whether something is known that is not on disk.
func (j *job) unsaved() bool { return j.dirty && j.account != nil }

// sum adds up the shards, once all are known.
func (j *job) sum() {
	if uint32(len(j.shards)) < j.all {
		return
	}
	var lists [][]ledger.HourSpend
	for _, account := range j.shards {
		lists = append(lists, account)
	}
	if account := addUp(lists); j.account == nil || !slices.Equal(account, j.account) {
		j.account, j.dirty = account, true
	}
}

// addUp adds accounts, hour by hour. The result is not nil.
func addUp(accounts [][]ledger.HourSpend) []ledger.HourSpend {
	hours := map[uint32]ledger.Spend{}
	for _, account := range accounts {
		for _, h := range account {
			s := hours[h.Hour]
			s.Add(h.Spend)
			hours[h.Hour] = s
		}
	}
	out := make([]ledger.HourSpend, 0, len(hours))
	for _, hour := range slices.Sorted(maps.Keys(hours)) {
		out = append(out, ledger.HourSpend{Hour: hour, Spend: hours[hour]})
	}
	return out
}
