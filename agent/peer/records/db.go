package records

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"time"

	"go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"
	"google.golang.org/protobuf/proto"

	"idlegrid/agent/peer/failpoint"
	"idlegrid/jobs"
	gridv1 "idlegrid/proto/grid/v1"
)

// kind orders the records of a job on disk: its manifest is read before whatever needs it.
type kind byte

const (
	kindManifest kind = iota + 1
	kindRuling
	kindCancel
	kindSeal
	kindReport
	kindLater // of a type that this version does not know
)

// The buckets of the bbolt file.
var (
	bucketRecords = []byte("records") // key → grid.v1.Record without chains
	bucketChains  = []byte("chains")  // key ID → grid.v1.Chain
	bucketMeta    = []byte("meta")    // small values of this peer's own
	bucketNotes   = []byte("notes")   // of checkpoints of this peer's own: job, unit, sequence → grid.v1.Record
	bucketSeen    = []byte("seen")    // agent ID → when it could hold blobs last, in Unix seconds, and its class
)

// key is where a record lies: job, kind, shard (big endian), ID.
type key [32 + 1 + 4 + 32]byte

func keyOf(job jobs.JobID, k kind, shard uint32, id jobs.Digest) key {
	var out key
	copy(out[:32], job[:])
	out[32] = byte(k)
	binary.BigEndian.PutUint32(out[33:37], shard)
	copy(out[37:], id[:])
	return out
}

// batchDelay lets concurrent writers share one fsync. bbolt's own default of 10 ms would be most of the
// time of a small report.
const batchDelay = time.Millisecond

// openDB opens the bbolt file. Its lock is what keeps two programs off one state folder.
func openDB(path string) (*bbolt.DB, error) {
	db, err := bbolt.Open(path, 0o600, &bbolt.Options{Timeout: time.Second, FreelistType: bbolt.FreelistMapType})
	if errors.Is(err, bolterrors.ErrTimeout) {
		return nil, jobs.WithHint(jobs.Errorf(jobs.Exists, "%s is in use by another process", path),
			"each agent and coordinator needs a state folder of its own; stop the other one or name another with --state")
	}
	if isSystems := new(fs.PathError); errors.As(err, &isSystems) {
		return nil, jobs.WithHint(fmt.Errorf("open records: %w", err), "the state folder must be one that this user may write to")
	}
	if err != nil {
		return nil, damaged(path, err)
	}
	db.MaxBatchDelay = batchDelay
	err = db.Update(func(tx *bbolt.Tx) error {
		for _, name := range [][]byte{bucketRecords, bucketChains, bucketMeta, bucketSeen, bucketNotes} {
			if _, err := tx.CreateBucketIfNotExists(name); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return nil, errors.Join(fmt.Errorf("prepare records %s: %w", path, err), db.Close())
	}
	return db, nil
}

// InUse reports whether a process has the bbolt file at path open. Without a file nobody has.
func InUse(path string) (bool, error) {
	release, inUse, err := Hold(path)
	if inUse || err != nil {
		return inUse, err
	}
	return false, release()
}

// Hold keeps every process from opening the bbolt file at path until release is called, unless one has it open
// already. Without a file, and with a damaged one, on which nothing can start, there is nothing to hold.
func Hold(path string) (release func() error, inUse bool, err error) {
	nothing := func() error { return nil }
	db, err := bbolt.Open(path, 0o600, &bbolt.Options{ReadOnly: true, Timeout: time.Millisecond})
	switch {
	case err == nil:
		return db.Close, false, nil
	case errors.Is(err, bolterrors.ErrTimeout):
		return nil, true, nil
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, bolterrors.ErrInvalid), errors.Is(err, bolterrors.ErrChecksum):
		return nothing, false, nil // no file, or one that is damaged, which the lock did not keep from being read
	case isEmpty(path):
		return nothing, false, nil // made, and killed at once: bbolt, which has the lock here, would write its first pages
	}
	return nil, false, fmt.Errorf("open records %s: %w", path, err)
}

func isEmpty(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.Size() == 0
}

// nextBoot counts the starts of this peer, each higher than the one before. It makes member names and report
// counters new after each start. It is the time in seconds where that is more than one higher than the last, so
// that a peer whose folder was lost, or put back from a backup, counts on from where it was. Seconds fit into the
// upper half of a report counter until 2106.
func nextBoot(db *bbolt.DB, now time.Time) (uint64, error) {
	var boot uint64
	err := db.Update(func(tx *bbolt.Tx) error {
		b := tx.Bucket(bucketMeta)
		if old := b.Get([]byte("boot")); len(old) == 8 {
			boot = binary.BigEndian.Uint64(old)
		}
		boot = max(boot+1, uint64(max(0, now.Unix())))
		return b.Put([]byte("boot"), binary.BigEndian.AppendUint64(nil, boot))
	})
	if err != nil {
		return 0, fmt.Errorf("count starts: %w", err)
	}
	return boot, nil
}

// write stores records and chains in one transaction that it may share with other callers.
func (s *Store) write(accepted []accepted) error {
	return s.update(s.db.Batch, func(tx *bbolt.Tx) error {
		records, chains := tx.Bucket(bucketRecords), tx.Bucket(bucketChains)
		for _, a := range accepted {
			value, err := proto.Marshal(recordToProto(a.Record, nil))
			if err != nil {
				return err
			}
			if err := records.Put(a.key[:], value); err != nil {
				return err
			}
			for id, chain := range a.newChains {
				value, err := proto.Marshal(&gridv1.Chain{Certificates: chain})
				if err != nil {
					return err
				}
				if err := chains.Put(id[:], value); err != nil {
					return err
				}
			}
		}
		failpoint.Hit("records.committing")
		return nil
	})
}

// update runs a transaction that writes.
func (s *Store) update(run func(func(*bbolt.Tx) error) error, change func(*bbolt.Tx) error) error {
	return s.o.Disk.Do(func() error {
		err := run(change)
		if errors.Is(err, bolterrors.ErrDatabaseNotOpen) {
			err = fmt.Errorf("%w: %w", fs.ErrClosed, err)
		}
		return err
	})
}

// Probe writes something that means nothing, and returns after it is on disk.
func (s *Store) Probe() error {
	return s.db.Update(func(tx *bbolt.Tx) error {
		return tx.Bucket(bucketMeta).Put([]byte("probe"), binary.BigEndian.AppendUint64(nil, rand.Uint64()))
	})
}

// read returns the stored record at k.
func (s *Store) read(k key) (Record, error) {
	var r Record
	err := s.db.View(func(tx *bbolt.Tx) error {
		var err error
		r, err = decodeStored(tx.Bucket(bucketRecords).Get(k[:]))
		return err
	})
	return r, err
}

func decodeStored(value []byte) (Record, error) {
	if value == nil {
		return Record{}, jobs.Errorf(jobs.NotFound, "record is not on disk")
	}
	var p gridv1.Record
	if err := proto.Unmarshal(value, &p); err != nil {
		return Record{}, jobs.Errorf(jobs.Corrupt, "read a stored record: %w", err)
	}
	o, err := offerFromProto(&p)
	if err != nil {
		return Record{}, jobs.Errorf(jobs.Corrupt, "read a stored record: %w", err)
	}
	return o.Record, nil
}

// forget removes a job's records from disk.
func (s *Store) forget(job jobs.JobID) error {
	return s.update(s.db.Update, func(tx *bbolt.Tx) error {
		b := tx.Bucket(bucketRecords)
		// Deleting under a moving cursor skips keys, so the keys are collected first.
		var keys [][]byte
		c := b.Cursor()
		for k, _ := c.Seek(job[:]); k != nil && bytes.HasPrefix(k, job[:]); k, _ = c.Next() {
			keys = append(keys, bytes.Clone(k))
		}
		for _, k := range keys {
			if err := b.Delete(k); err != nil {
				return err
			}
		}
		return nil
	})
}
