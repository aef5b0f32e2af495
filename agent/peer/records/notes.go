package records

import (
	"bytes"
	"cmp"
	"crypto/ed25519"
	"encoding/binary"
	"slices"
	"time"

	"go.etcd.io/bbolt"
	"google.golang.org/protobuf/proto"

	"idlegrid/agent/peer"
	"idlegrid/jobs"
	"idlegrid/jobs/record"
	gridv1 "idlegrid/proto/grid/v1"
)

// maxNote bounds a checkpoint's note with its receipts and chain, in bytes. It takes about three thousand.
const maxNote = 6 << 10

// Note is the note of a checkpoint: who says from where a unit can go on, and who holds it. It is no record of the
// store, which keeps none of it and gives none to others: see steward and worker.
type Note struct {
	*record.Checkpoint
	Author  jobs.AgentID
	Holders []jobs.AgentID // of its parts by their receipts

	id    jobs.Digest
	offer Offer
	size  int // of all of it, encoded
}

// NewNote signs the note of a checkpoint.
func NewNote(c *record.Checkpoint, receipts []record.Envelope, key ed25519.PrivateKey, chain [][]byte) (*Note, error) {
	if err := c.Check(); err != nil {
		return nil, err
	}
	r := Record{Envelope: record.Sign(record.TypeCheckpoint, c.Encode(), key), Receipts: receipts[:min(len(receipts), maxReceipts)]}
	return noteOf(Offer{Record: r, Chains: [][][]byte{chain}})
}

// ReadNote reads the note of a checkpoint that came with an RPC, without looking at signatures.
func ReadNote(p *gridv1.Record) (*Note, error) {
	if n := proto.Size(p); n > maxNote {
		return nil, jobs.Errorf(jobs.Invalid, "note of a checkpoint with %d bytes, expected at most %d", n, maxNote)
	}
	o, err := offerFromProto(p)
	if err != nil {
		return nil, err
	}
	return noteOf(o)
}

func noteOf(o Offer) (*Note, error) {
	if o.Envelope.Type != record.TypeCheckpoint || len(o.Envelope.Signatures) != 1 {
		return nil, jobs.Errorf(jobs.Invalid, "%.80q with %d signatures, expected a checkpoint with one", o.Envelope.Type, len(o.Envelope.Signatures))
	}
	c, err := record.DecodeCheckpoint(o.Envelope.Payload)
	if err != nil {
		return nil, err
	}
	n := &Note{Checkpoint: c, Author: o.Envelope.Signatures[0].Signer(), id: o.Envelope.ID(), offer: o}
	for _, e := range o.Receipts {
		r, err := record.DecodeReceipt(e.Payload)
		if err != nil {
			return nil, err
		}
		if e.Type != record.TypeReceipt || r.Job != c.Job || !slices.Contains(c.Parts, r.Blob) {
			return nil, jobs.Errorf(jobs.Invalid, "receipt is for no part of the checkpoint")
		}
		if !slices.Contains(n.Holders, r.Holder) {
			n.Holders = append(n.Holders, r.Holder)
		}
	}
	n.size = proto.Size(n.ToProto())
	return n, nil
}

// UnitID returns the unit whose checkpoint it is.
func (n *Note) UnitID() jobs.UnitID { return jobs.UnitID{Job: n.Job, Unit: n.Unit} }

// Same reports whether two notes say the same by the same agent.
func (n *Note) Same(o *Note) bool { return n.id == o.id && n.Author == o.Author }

// Newer orders notes of one unit: negative, n is to be tried before o.
func (n *Note) Newer(o *Note) int {
	return cmp.Or(cmp.Compare(o.Attempt, n.Attempt), cmp.Compare(o.Sequence, n.Sequence), cmp.Compare(o.CPU, n.CPU),
		n.id.Compare(o.id), n.Author.Compare(o.Author))
}

// Bytes returns how many bytes the checkpoint's parts have.
func (n *Note) Bytes() int64 {
	sum := int64(0)
	for _, b := range n.Parts {
		sum += b.Size
	}
	return sum
}

// Size returns how many bytes the note takes on its way.
func (n *Note) Size() int { return n.size }

// Receipts returns the holders' receipts for its parts.
func (n *Note) Receipts() []record.Envelope { return n.offer.Receipts }

// ToProto returns the note as the protocol has it.
func (n *Note) ToProto() *gridv1.Record { return recordToProto(n.offer.Record, n.offer.Chains) }

// VerifyNote checks all signatures of a note, that an agent of this grid made it, and that the job has the unit.
// Whoever knows the job may call it.
func (s *Store) VerifyNote(n *Note, now time.Time) error {
	job, err := s.live(n.Job, now)
	if err != nil {
		return err
	}
	if n.Unit >= job.Manifest.Units {
		return jobs.Errorf(jobs.Invalid, "checkpoint of unit %d, the job has %d", n.Unit, job.Manifest.Units)
	}
	a := accepted{Record: n.offer.Record}
	if err := s.learnChains(&a, n.offer.Chains); err != nil {
		return err
	}
	who, err := s.signer(&a, n.Author)
	if err != nil {
		return err
	}
	if who.Role != peer.Agent {
		return jobs.Errorf(jobs.Denied, "checkpoint by the %s %s, expected an agent", who.Role, who.ID.Short())
	}
	for _, e := range n.offer.Receipts {
		r, err := record.DecodeReceipt(e.Payload)
		if err != nil {
			return err
		}
		if err := e.Verify(r.Holder); err != nil {
			return err
		}
	}
	return nil
}

// SaveNotes keeps the notes of this peer's own checkpoints of a unit in place of those before; none forgets them.
// They are on disk when it returns.
func (s *Store) SaveNotes(unit jobs.UnitID, notes ...*Note) error {
	prefix := binary.BigEndian.AppendUint64(unit.Job[:], unit.Unit)
	return s.update(s.db.Batch, func(tx *bbolt.Tx) error {
		b := tx.Bucket(bucketNotes)
		var old [][]byte
		c := b.Cursor()
		for k, _ := c.Seek(prefix); k != nil && bytes.HasPrefix(k, prefix); k, _ = c.Next() {
			old = append(old, bytes.Clone(k))
		}
		for _, k := range old {
			if err := b.Delete(k); err != nil {
				return err
			}
		}
		for _, n := range notes {
			value, err := proto.Marshal(n.ToProto())
			if err != nil {
				return err
			}
			if err := b.Put(binary.BigEndian.AppendUint64(prefix[:len(prefix):len(prefix)], n.Sequence), value); err != nil {
				return err
			}
		}
		return nil
	})
}

// Notes returns the notes that SaveNotes kept, those of each unit together. What cannot be read is left out:
// without it units begin anew, that is all.
func (s *Store) Notes() (notes []*Note, err error) {
	err = s.db.View(func(tx *bbolt.Tx) error {
		return tx.Bucket(bucketNotes).ForEach(func(_, v []byte) error {
			var p gridv1.Record
			err := proto.Unmarshal(v, &p)
			var n *Note
			if err == nil {
				n, err = ReadNote(&p)
			}
			if err == nil {
				notes = append(notes, n)
			} else {
				s.log.Warn("cannot read the note of a checkpoint", "err", err)
			}
			return nil
		})
	})
	return notes, err
}
