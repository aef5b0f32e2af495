package record

import (
	"encoding/binary"
	"slices"

	"idlegrid/jobs"
	gridv1 "idlegrid/proto/grid/v1"
)

// A pack is 4 bytes with the length of the index, big-endian, the index, and the outcomes' bytes.
const (
	packHead     = 4
	maxPackIndex = 4 << 20 // bytes; MaxPackEntries of the longest entries take about 2 MiB
)

// UnitOutcome is an outcome on its way into a pack.
type UnitOutcome struct {
	Unit  uint64
	Bytes []byte // an encoded Outcome
}

// Pack is an opened pack. It shares the bytes that it was decoded from.
type Pack struct {
	units map[uint64][]packEntry
	data  []byte
}

type packEntry struct {
	digest jobs.Digest
	begin  int64
	end    int64
}

// EncodePack returns a pack of at most MaxPackEntries outcomes. A unit may stand in it more than once.
func EncodePack(outcomes []UnitOutcome) []byte {
	index := &gridv1.PackIndex{Entries: make([]*gridv1.PackEntry, len(outcomes))}
	total := int64(0)
	for i, o := range outcomes {
		digest, length := jobs.DigestOf(o.Bytes), int64(len(o.Bytes))
		index.Entries[i] = &gridv1.PackEntry{Unit: o.Unit, Offset: total, Length: length, Digest: digest[:]}
		total += length
	}
	head := marshal(index)
	b := make([]byte, 0, int64(packHead+len(head))+total)
	b = binary.BigEndian.AppendUint32(b, uint32(len(head)))
	b = append(b, head...)
	for _, o := range outcomes {
		b = append(b, o.Bytes...)
	}
	return b
}

// DecodePack opens a pack. It reads the index alone: outcomes are verified and decoded one by one, so that one
// that is broken costs only itself.
func DecodePack(b []byte) (*Pack, error) {
	if len(b) < packHead {
		return nil, jobs.Errorf(jobs.Invalid, "pack of %d bytes", len(b))
	}
	size, rest := int64(binary.BigEndian.Uint32(b)), b[packHead:]
	if size > maxPackIndex || size > int64(len(rest)) {
		return nil, jobs.Errorf(jobs.Invalid, "pack: index of %d bytes in %d", size, len(b))
	}
	var index gridv1.PackIndex
	if err := unmarshal("pack index", rest[:size], &index, maxPackIndex); err != nil {
		return nil, err
	}
	if len(index.GetEntries()) > MaxPackEntries {
		return nil, jobs.Errorf(jobs.Invalid, "pack: %d outcomes, expected at most %d", len(index.GetEntries()), MaxPackEntries)
	}
	p := &Pack{units: make(map[uint64][]packEntry, len(index.GetEntries())), data: rest[size:]}
	for _, e := range index.GetEntries() {
		if err := p.add(e); err != nil {
			return nil, err
		}
	}
	return p, nil
}

func (p *Pack) add(e *gridv1.PackEntry) error {
	digest, err := jobs.DigestFromBytes(e.GetDigest())
	if err != nil {
		return jobs.Errorf(jobs.Invalid, "pack: unit %d: %w", e.GetUnit(), err)
	}
	begin, length, size := e.GetOffset(), e.GetLength(), int64(len(p.data))
	if begin < 0 || length < 0 || begin > size || length > size-begin {
		return jobs.Errorf(jobs.Invalid, "pack: unit %d: %d bytes at %d of %d", e.GetUnit(), length, begin, size)
	}
	p.units[e.GetUnit()] = append(p.units[e.GetUnit()], packEntry{digest: digest, begin: begin, end: begin + length})
	return nil
}

// Outcome returns the outcome of a unit that has the digest want. The error is of kind jobs.NotFound if the
// pack does not name it, and jobs.Corrupt if its bytes are others.
func (p *Pack) Outcome(unit uint64, want jobs.Digest) (Outcome, error) {
	for _, e := range p.units[unit] {
		if e.digest != want {
			continue
		}
		b := p.data[e.begin:e.end]
		if jobs.DigestOf(b) != want {
			return Outcome{}, jobs.Errorf(jobs.Corrupt, "pack: the outcome of unit %d does not match its digest", unit)
		}
		return DecodeOutcome(b)
	}
	return Outcome{}, jobs.Errorf(jobs.NotFound, "pack: no outcome %s of unit %d", want, unit)
}

// Units returns the units that the pack holds outcomes of, in ascending order.
func (p *Pack) Units() []uint64 {
	units := make([]uint64, 0, len(p.units))
	for u := range p.units {
		units = append(units, u)
	}
	slices.Sort(units)
	return units
}
