package accounts

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"maps"
	"slices"
	"time"

	"go.etcd.io/bbolt"
	"google.golang.org/protobuf/proto"

	"idlegrid/agent/peer/steward"
	"idlegrid/jobs"
	"idlegrid/jobs/ledger"
	"idlegrid/jobs/record"
	gridv1 "idlegrid/proto/grid/v1"
)

const (
	// KeepRows is how long rows are kept, and maxRows how many: the oldest go first. It is an hour of each of fifty
	// submitters who always have work, for the whole of it.
	KeepRows = 400 * 24 * time.Hour
	maxRows  = 500_000
	// keepFolded is how long a job is remembered whose account is in rows: as long as one may live, and a day. It matters
	// where a clock goes back only. maxFolded bounds them.
	keepFolded = 31 * 24 * time.Hour
	maxFolded  = 100_000
	// maxTotals bounds the submitters with a total of their own. The least of more are one together.
	maxTotals = 1000
)

// save writes what changed, and lets Prometheus see the counters then.
func (b *Book) save(now time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	err := b.write(now)
	if err != nil && !b.failing {
		b.log.Warn("cannot write the accounts, trying again each minute", "err", err)
	}
	if b.failing = err != nil; err == nil && b.ready {
		shown := maps.Clone(b.counters)
		b.shown.Store(&shown)
	}
}

// write brings the file up to date, in one transaction. What is in memory follows when that has worked.
func (b *Book) write(now time.Time) error {
	folding := map[jobs.JobID]*job{}
	totals := maps.Clone(b.totals)
	for id, j := range b.jobs {
		if now.After(j.expires.Add(ledger.Skew)) {
			folding[id] = j
			addTotal(totals, j)
		}
	}
	forgotten := b.forgotten(len(folding), now)
	counters := b.count(totals, folding)
	rows := b.rows
	err := b.db.Update(func(tx *bbolt.Tx) error {
		w := writer{tx: tx}
		for id, j := range b.jobs {
			if _, folds := folding[id]; folds {
				w.fold(id, j, &rows, now)
			} else if j.unsaved() {
				w.keep(id, j)
			}
		}
		for _, id := range forgotten {
			w.delete(bucketFolded, id[:])
		}
		w.totals(b.totals, totals)
		for hour, us := range b.pending {
			key := binary.BigEndian.AppendUint32(nil, hour)
			had, _ := number(tx.Bucket(bucketOffered).Get(key))
			w.put(bucketOffered, key, numberBytes(had+us))
		}
		w.counters(b.counters, counters)
		first := record.HourOf(now.Add(-KeepRows))
		rows -= w.trim(bucketRows, first, rows-maxRows)
		w.trim(bucketOffered, first, 0)
		return w.err
	})
	if err != nil {
		return err
	}
	for id, j := range b.jobs {
		j.dirty = j.dirty && !j.unsaved()
		if _, folds := folding[id]; folds {
			delete(b.jobs, id)
			b.folded[id] = now
		}
	}
	for _, id := range forgotten {
		delete(b.folded, id)
	}
	clear(b.pending)
	b.totals, b.counters, b.rows = totals, counters, rows
	return nil
}

// forgotten lists the folded jobs that need not be remembered any more, where so many come on top.
func (b *Book) forgotten(more int, now time.Time) (ids []jobs.JobID) {
	all := slices.SortedFunc(maps.Keys(b.folded), func(x, y jobs.JobID) int { return b.folded[x].Compare(b.folded[y]) })
	for i, id := range all {
		if now.Sub(b.folded[id]) > keepFolded || len(all)-i+more > maxFolded {
			ids = append(ids, id)
		}
	}
	return ids
}

// addTotal adds a job to the total of its submitter.
func addTotal(totals map[whose]total, j *job) {
	if _, known := totals[j.whose]; !known && len(totals) >= maxTotals {
		nobody := whose{runtime: j.runtime}
		least := slices.MinFunc(slices.Collect(maps.Keys(totals)), func(x, y whose) int {
			return cmp.Or(cmp.Compare(rank(x, nobody), rank(y, nobody)), cmp.Compare(totals[x].Total(), totals[y].Total()))
		})
		rest := totals[whose{runtime: least.runtime}]
		rest.Add(totals[least].Spend)
		delete(totals, least)
		totals[whose{runtime: least.runtime}] = rest
	}
	totals[j.whose] = totals[j.whose].with(j)
}

// with returns the total with a job.
func (t total) with(j *job) total {
	t.owner = j.owner
	for _, h := range j.account {
		t.Add(h.Spend)
	}
	return t
}

// rank puts what has no submitter behind all others.
func rank(w, nobody whose) int {
	if w.submitter == nobody.submitter {
		return 1
	}
	return 0
}

// writer writes within a transaction until something fails.
type writer struct {
	tx  *bbolt.Tx
	err error
}

func (w *writer) put(bucket, key, value []byte) {
	if w.err == nil {
		w.err = w.tx.Bucket(bucket).Put(key, value)
	}
}

func (w *writer) delete(bucket, key []byte) {
	if w.err == nil {
		w.err = w.tx.Bucket(bucket).Delete(key)
	}
}

func (w *writer) putMessage(bucket, key []byte, m proto.Message) {
	value, err := proto.Marshal(m)
	if w.err == nil {
		w.err = err
	}
	w.put(bucket, key, value)
}

func (w *writer) keep(id jobs.JobID, j *job) {
	value, err := j.encode()
	if w.err == nil {
		w.err = err
	}
	w.put(bucketLive, id[:], value)
}

// fold adds an expired job to the rows.
func (w *writer) fold(id jobs.JobID, j *job, rows *int, now time.Time) {
	for _, h := range j.account {
		key := rowKey(h.Hour, j.whose)
		value := w.tx.Bucket(bucketRows).Get(key)
		if value == nil {
			*rows++
		}
		had, err := spendOf(value)
		if w.err == nil {
			w.err = err
		}
		had.Add(h.Spend)
		w.putMessage(bucketRows, key, steward.SpendToProto(had))
	}
	w.delete(bucketLive, id[:])
	w.put(bucketFolded, id[:], numberBytes(uint64(max(0, now.Unix()))))
}

func (w *writer) totals(old, totals map[whose]total) {
	for key := range old {
		if _, stays := totals[key]; !stays {
			w.delete(bucketTotals, key.key())
		}
	}
	for key, t := range totals {
		if old[key] != t {
			w.putMessage(bucketTotals, key.key(), &gridv1.KeptTotal{Owner: t.owner, Spend: steward.SpendToProto(t.Spend)})
		}
	}
}

func (w *writer) counters(old, counters map[series]uint64) {
	for s := range old {
		if _, stays := counters[s]; !stays {
			w.delete(bucketCounters, []byte(s))
		}
	}
	for s, n := range counters {
		if had, known := old[s]; !known || had != n {
			w.put(bucketCounters, []byte(s), numberBytes(n))
		}
	}
}

// trim deletes what is older than an hour, and the oldest of what is too much, and returns how many those were.
func (w *writer) trim(bucket []byte, first uint32, over int) int {
	var keys [][]byte // deleting under a moving cursor skips some
	c := w.tx.Bucket(bucket).Cursor()
	for k, _ := c.First(); k != nil && (binary.BigEndian.Uint32(k) < first || len(keys) < over); k, _ = c.Next() {
		keys = append(keys, bytes.Clone(k))
	}
	for _, k := range keys {
		w.delete(bucket, k)
	}
	return len(keys)
}
