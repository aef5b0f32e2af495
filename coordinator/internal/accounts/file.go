package accounts

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"runtime/debug"
	"time"

	"go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"
	"google.golang.org/protobuf/proto"

	"idlegrid/agent/peer/steward"
	"idlegrid/jobs"
	"idlegrid/jobs/ledger"
	gridv1 "idlegrid/proto/grid/v1"
)

// File is the name of the file in the coordinator's state folder.
const File = "accounts.db"

// aside is what a file that cannot be read has behind its name from then on.
const aside = ".damaged"

// The buckets of the file. Numbers are big endian.
var (
	bucketLive     = []byte("live")     // job → grid.v1.KeptAccount
	bucketFolded   = []byte("folded")   // job → Unix seconds
	bucketRows     = []byte("rows")     // hour, submitter, runtime → grid.v1.Spend
	bucketTotals   = []byte("totals")   // submitter, runtime → grid.v1.KeptTotal
	bucketOffered  = []byte("offered")  // hour → microseconds of cores
	bucketCounters = []byte("counters") // series → value

	buckets = [][]byte{bucketLive, bucketFolded, bucketRows, bucketTotals, bucketOffered, bucketCounters}
)

// open opens the file. One that is damaged is put aside, and another made.
func (b *Book) open() error {
	err := b.tryOpen()
	if jobs.KindOf(err) != jobs.Corrupt {
		return err
	}
	b.log.Warn("the accounts cannot be read and begin anew; live jobs come back from the agents", "put_aside", b.o.Path+aside, "err", err)
	if err := os.Rename(b.o.Path, b.o.Path+aside); err != nil {
		return fmt.Errorf("put the damaged accounts aside: %w", err)
	}
	return b.tryOpen()
}

// tryOpen opens the file and reads all of it, so that nothing in it surprises anybody later.
func (b *Book) tryOpen() (err error) {
	// bbolt panics where a page is not what others say it is, and the system ends who reads behind a file's end.
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if p := recover(); p != nil {
			err = jobs.Errorf(jobs.Corrupt, "%s: %v", b.o.Path, p)
		}
	}()
	_, statErr := os.Stat(b.o.Path)
	b.made = errors.Is(statErr, fs.ErrNotExist)
	b.db, err = bbolt.Open(b.o.Path, 0o600, &bbolt.Options{Timeout: time.Second, FreelistType: bbolt.FreelistMapType})
	isSystems := new(fs.PathError)
	switch {
	case errors.Is(err, bolterrors.ErrTimeout):
		return jobs.Errorf(jobs.Exists, "%s is in use by another process", b.o.Path)
	case errors.As(err, &isSystems):
		return fmt.Errorf("open the accounts: %w", err)
	case err != nil:
		return jobs.Errorf(jobs.Corrupt, "%s: %w", b.o.Path, err)
	}
	err = b.db.Update(func(tx *bbolt.Tx) error {
		for _, name := range buckets {
			if _, err := tx.CreateBucketIfNotExists(name); err != nil {
				return err
			}
		}
		return nil
	})
	if err == nil {
		err = b.db.View(b.load)
	}
	if err != nil {
		return errors.Join(err, b.db.Close())
	}
	return nil
}

// load reads the file into memory, but the rows, of which it sees whether they can be read.
func (b *Book) load(tx *bbolt.Tx) error {
	b.kept = kept{
		jobs: map[jobs.JobID]*job{}, folded: map[jobs.JobID]time.Time{}, totals: map[whose]total{}, counters: map[series]uint64{},
	}
	for _, part := range []struct {
		bucket []byte
		read   func(k, v []byte) error
	}{
		{bucketLive, b.loadJob},
		{bucketFolded, func(k, v []byte) error {
			id, err := jobs.JobIDFromBytes(k)
			at, ok := number(v)
			b.folded[id] = time.Unix(int64(at), 0)
			return readable(err, ok)
		}},
		{bucketRows, func(k, v []byte) error {
			_, _, ok := splitRow(k)
			_, err := spendOf(v)
			b.rows++
			return readable(err, ok)
		}},
		{bucketTotals, func(k, v []byte) error {
			var p gridv1.KeptTotal
			err := proto.Unmarshal(v, &p)
			w, ok := splitWhose(k)
			b.totals[w] = total{p.GetOwner(), steward.SpendFromProto(p.GetSpend())}
			return readable(err, ok)
		}},
		{bucketOffered, func(k, v []byte) error {
			_, ok := number(v)
			return readable(nil, ok && len(k) == 4)
		}},
		{bucketCounters, func(k, v []byte) error {
			n, ok := number(v)
			b.counters[series(k)] = n
			return readable(nil, ok)
		}},
	} {
		err := tx.Bucket(part.bucket).ForEach(func(k, v []byte) error {
			if err := part.read(k, v); err != nil {
				return jobs.Errorf(jobs.Corrupt, "%s: %s %x: %w", b.o.Path, part.bucket, k, err)
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

var errUnreadable = errors.New("it is none of this program's")

func readable(err error, ok bool) error {
	if err == nil && !ok {
		err = errUnreadable
	}
	return err
}

func (b *Book) loadJob(k, v []byte) error {
	var p gridv1.KeptAccount
	if err := proto.Unmarshal(v, &p); err != nil {
		return err
	}
	id, err := jobs.JobIDFromBytes(k)
	if err != nil {
		return err
	}
	submitter, err := jobs.KeyIDFromBytes(p.GetSubmitter())
	if err != nil {
		return err
	}
	account, err := steward.AccountFromProto(p.GetAccount())
	if err != nil {
		return err
	}
	b.jobs[id] = &job{
		whose: whose{submitter, p.GetRuntime()}, owner: p.GetOwner(), expires: time.Unix(p.GetExpires(), 0), account: account,
	}
	return nil
}

func (j *job) encode() ([]byte, error) {
	return proto.Marshal(&gridv1.KeptAccount{
		Submitter: j.submitter[:], Owner: j.owner, Runtime: j.runtime, Expires: j.expires.Unix(), Account: steward.AccountToProto(j.account),
	})
}

func spendOf(v []byte) (ledger.Spend, error) {
	var p gridv1.Spend
	err := proto.Unmarshal(v, &p)
	return steward.SpendFromProto(&p), err
}

func rowKey(hour uint32, w whose) []byte {
	return append(binary.BigEndian.AppendUint32(nil, hour), w.key()...)
}

func splitRow(k []byte) (hour uint32, w whose, ok bool) {
	if len(k) < 4 {
		return 0, w, false
	}
	w, ok = splitWhose(k[4:])
	return binary.BigEndian.Uint32(k), w, ok
}

func (w whose) key() []byte { return append(w.submitter[:], w.runtime...) }

func splitWhose(k []byte) (w whose, ok bool) {
	if len(k) < len(w.submitter) {
		return w, false
	}
	n := copy(w.submitter[:], k)
	w.runtime = string(k[n:])
	return w, true
}

func number(v []byte) (n uint64, ok bool) {
	if len(v) != 8 {
		return 0, false
	}
	return binary.BigEndian.Uint64(v), true
}

func numberBytes(n uint64) []byte { return binary.BigEndian.AppendUint64(nil, n) }
