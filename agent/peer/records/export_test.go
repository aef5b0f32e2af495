package records

import (
	"encoding/binary"
	"errors"
	"testing"

	"go.etcd.io/bbolt"
	"google.golang.org/protobuf/proto"

	"idlegrid/jobs"
)

// For tests of what has no other way in.
var (
	DecodeStored = decodeStored
	Window       = window
	Compare      = compare
)

// Spare is what each author may say beyond a job's size.
const Spare = spare

// KeepEnded is how long after its expiry a job is deleted, KeepRunning how long the process must have seen that.
const (
	KeepEnded   = keepEnded
	KeepRunning = keepRunning
)

// SetBoot writes the number of the last start into a file.
func SetBoot(t *testing.T, path string, boot uint64) {
	t.Helper()
	db, err := openDB(path)
	if err != nil {
		t.Fatal(err)
	}
	err = db.Update(func(tx *bbolt.Tx) error {
		return tx.Bucket(bucketMeta).Put([]byte("boot"), binary.BigEndian.AppendUint64(nil, boot))
	})
	if err := errors.Join(err, db.Close()); err != nil {
		t.Fatal(err)
	}
}

// Used returns how much an author's account of a shard holds, and how many accounts there are.
func (s *Store) Used(shard jobs.ShardID, author jobs.KeyID) (used uint64, accounts int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.used[account{shard: shard, author: author}], len(s.used)
}

// MaxLater bounds a record of an unknown type, in bytes.
const MaxLater = maxLater

// KeepAsLater writes a record into a file as a version keeps it that does not know its type.
func KeepAsLater(t *testing.T, path string, job jobs.JobID, o Offer) {
	t.Helper()
	db, err := openDB(path)
	if err != nil {
		t.Fatal(err)
	}
	err = db.Update(func(tx *bbolt.Tx) error {
		value, err := proto.Marshal(recordToProto(o.Record, nil))
		k := keyOf(job, kindLater, 0, o.Envelope.ID())
		return errors.Join(err, tx.Bucket(bucketRecords).Put(k[:], value))
	})
	if err := errors.Join(err, db.Close()); err != nil {
		t.Fatal(err)
	}
}

// UsedLater is Used for records of unknown types.
func (s *Store) UsedLater(job jobs.JobID, author jobs.KeyID) (used uint64, accounts int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.used[account{shard: jobs.ShardID{Job: job}, author: author, later: true}], len(s.used)
}

// Authors returns how many authors the store knows.
func (s *Store) Authors() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.authors)
}

// Ledgers returns how many ledgers the store holds of a job.
func (s *Store) Ledgers(job jobs.JobID) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.jobs[job].ledgers)
}

// MaxSeen is how many agents are remembered that may hold blobs.
const MaxSeen = maxSeen

// Seen returns how many are.
func (s *Store) Seen() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.holders.last)
}
