package accounts

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"maps"
	"slices"
	"time"

	"go.etcd.io/bbolt"

	"idlegrid/jobs"
	"idlegrid/jobs/ledger"
	"idlegrid/jobs/record"
)

// MaxRows bounds what Rows returns.
const MaxRows = 20_000

const day = 24 // hours

// Row is what the work of a submitter cost on a day of UTC.
type Row struct {
	Day       time.Time // its begin
	Submitter jobs.KeyID
	Owner     string // in the submitter's certificate; may be empty
	Runtime   string
	ledger.Spend
}

// rowID is what there is one row of.
type rowID struct {
	day uint32 // in hours
	whose
}

// Rows returns what was spent in the hours that begin at since or later and before until, on work of those submitters that
// pass, by day, then submitter. More than MaxRows rows are an error of kind jobs.Exhausted.
func (b *Book) Rows(since, until time.Time, pass func(by jobs.KeyID, owner string) bool) ([]Row, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	rows := map[rowID]*Row{}
	err := b.spent(since, until, pass, func(hour uint32, w whose, owner string, s ledger.Spend) error {
		id := rowID{hour / day * day, w}
		if rows[id] == nil {
			if len(rows) == MaxRows {
				return tooMany()
			}
			rows[id] = &Row{Day: momentOf(id.day), Submitter: w.submitter, Owner: owner, Runtime: w.runtime}
		}
		rows[id].Add(s)
		return nil
	})
	if err != nil {
		return nil, err
	}
	return sorted(rows, Row.compare), nil
}

// spent calls add with all that was spent in the hours that begin at since or later and before until, on work of those
// submitters that pass. The caller holds b.mu.
func (b *Book) spent(since, until time.Time, pass func(by jobs.KeyID, owner string) bool, add func(hour uint32, w whose, owner string, s ledger.Spend) error) error {
	first, end := hours(since, until)
	err := b.db.View(func(tx *bbolt.Tx) error {
		c := tx.Bucket(bucketRows).Cursor()
		for k, v := c.Seek(binary.BigEndian.AppendUint32(nil, first)); k != nil; k, v = c.Next() {
			hour, w, _ := splitRow(k) // load has seen that it can be read
			if hour >= end {
				break
			}
			if owner := b.totals[w].owner; pass(w.submitter, owner) {
				s, err := spendOf(v)
				if err == nil {
					err = add(hour, w, owner, s)
				}
				if err != nil {
					return err
				}
			}
		}
		return nil
	})
	for _, j := range b.jobs {
		for _, h := range j.account {
			if err == nil && h.Hour >= first && h.Hour < end && pass(j.submitter, j.owner) {
				err = add(h.Hour, j.whose, j.owner, h.Spend)
			}
		}
	}
	return err
}

func tooMany() error {
	return jobs.WithHint(jobs.Errorf(jobs.Exhausted, "more than %d rows of accounts", MaxRows), "ask for a shorter time")
}

// Job returns what a job has cost that has not expired, by hour; nil: that is not known.
func (b *Book) Job(id jobs.JobID) []ledger.HourSpend {
	b.mu.Lock()
	defer b.mu.Unlock()
	if j := b.jobs[id]; j != nil {
		return j.account
	}
	return nil
}

func (r Row) compare(o Row) int {
	return cmp.Or(r.Day.Compare(o.Day), cmp.Compare(r.Owner, o.Owner), bytes.Compare(r.Submitter[:], o.Submitter[:]), cmp.Compare(r.Runtime, o.Runtime))
}

// Offered is the time of cores that agents offered on a day of UTC, in microseconds.
type Offered struct {
	Day     time.Time // its begin
	CoreMic uint64
}

// OfferedBy returns what agents offered in the hours that begin at since or later and before until, by day.
func (b *Book) OfferedBy(since, until time.Time) ([]Offered, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	days := map[uint32]uint64{}
	err := b.offered(since, until, func(hour uint32, us uint64) { days[hour/day*day] += us })
	var out []Offered
	for _, d := range slices.Sorted(maps.Keys(days)) {
		out = append(out, Offered{momentOf(d), days[d]})
	}
	return out, err
}

// offered calls add with all that agents offered in the hours that begin at since or later and before until. The caller
// holds b.mu.
func (b *Book) offered(since, until time.Time, add func(hour uint32, us uint64)) error {
	first, end := hours(since, until)
	for hour, us := range b.pending {
		if hour >= first && hour < end {
			add(hour, us)
		}
	}
	return b.db.View(func(tx *bbolt.Tx) error {
		c := tx.Bucket(bucketOffered).Cursor()
		for k, v := c.Seek(binary.BigEndian.AppendUint32(nil, first)); k != nil; k, v = c.Next() {
			hour := binary.BigEndian.Uint32(k)
			if hour >= end {
				break
			}
			us, _ := number(v)
			add(hour, us)
		}
		return nil
	})
}

// momentOf returns the begin of an hour.
func momentOf(hour uint32) time.Time { return time.Unix(int64(hour)*3600, 0).UTC() }

// hours returns the hours that begin at since or later and before until: from first on, and before end.
func hours(since, until time.Time) (first, end uint32) {
	up := func(t time.Time) uint32 { return record.HourOf(t.Add(time.Hour - time.Nanosecond)) }
	return up(since), up(until)
}
