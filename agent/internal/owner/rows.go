package owner

import (
	"bytes"
	"cmp"
	"slices"

	"go.etcd.io/bbolt"
	"google.golang.org/protobuf/proto"

	gridv1 "idlegrid/proto/grid/v1"
)

// row is a message of the history's.
type row interface {
	proto.Message
	GetLastMs() int64
}

// rowOf is a pointer to a row's type.
type rowOf[T any] interface {
	*T
	row
}

// rowsOf reads a bucket. Rows that cannot be read are of a disk's making, or a later version's: they are left out.
func rowsOf[T any, R rowOf[T]](b *bbolt.Bucket) (out []R) {
	c := b.Cursor()
	for k, v := c.First(); k != nil; k, v = c.Next() {
		r := R(new(T))
		if proto.Unmarshal(v, r) == nil {
			out = append(out, r)
		}
	}
	return out
}

// withWaiting adds rows that wait for the disk to those that it has.
func withWaiting[K comparable, R row](list []R, waiting map[K]R, key func(R) K, add func(a, b R) R) []R {
	known := map[K]bool{}
	for i, r := range list {
		if w, ok := waiting[key(r)]; ok {
			list[i] = add(r, w)
			known[key(r)] = true
		}
	}
	for k, w := range waiting {
		if !known[k] {
			list = append(list, proto.CloneOf(w))
		}
	}
	return list
}

func newestFirst[R row](list []R) {
	slices.SortStableFunc(list, func(a, b R) int { return cmp.Compare(b.GetLastMs(), a.GetLastMs()) })
}

// addTo adds a row to what a bucket has under its key.
func addTo[T any, R rowOf[T]](b *bbolt.Bucket, key []byte, r R, add func(a, b R) R) error {
	had := R(new(T))
	if old := b.Get(key); old != nil && proto.Unmarshal(old, had) == nil {
		r = add(had, r)
	}
	text, err := proto.Marshal(r)
	if err != nil {
		return err
	}
	return b.Put(key, text)
}

// trim removes rows that are older than a time, and the oldest of those that are too many.
func trim[T any, R rowOf[T]](b *bbolt.Bucket, most int, oldest int64) error {
	type entry struct {
		key  []byte
		last int64
	}
	var all []entry
	c := b.Cursor()
	for k, v := c.First(); k != nil; k, v = c.Next() {
		r := R(new(T))
		if err := proto.Unmarshal(v, r); err != nil {
			r = R(new(T)) // what nobody can read is the oldest
		}
		all = append(all, entry{bytes.Clone(k), r.GetLastMs()})
	}
	slices.SortFunc(all, func(a, b entry) int { return cmp.Compare(b.last, a.last) })
	for i, e := range all {
		if i < most && e.last >= oldest {
			continue
		}
		if err := b.Delete(e.key); err != nil {
			return err
		}
	}
	return nil
}

// addJobs returns what two rows of one job say together, a the earlier; one of them may be nil. Neither is changed.
func addJobs(a, b *gridv1.OwnerJob) *gridv1.OwnerJob {
	if a == nil || b == nil {
		return cmp.Or(a, b)
	}
	sum := proto.CloneOf(a)
	sum.Name, sum.Submitter, sum.Program = b.GetName(), b.GetSubmitter(), b.GetProgram()
	sum.Owner = cmp.Or(b.GetOwner(), a.GetOwner())
	sum.LastMs = max(a.GetLastMs(), b.GetLastMs())
	sum.Units += b.GetUnits()
	sum.Failed += b.GetFailed()
	sum.CpuUs += b.GetCpuUs()
	sum.MemoryBytes = max(a.GetMemoryBytes(), b.GetMemoryBytes())
	sum.InBytes += b.GetInBytes()
	sum.OutBytes += b.GetOutBytes()
	return sum
}

// addVisits does the same for somebody's visits.
func addVisits(a, b *gridv1.OwnerVisitor) *gridv1.OwnerVisitor {
	if a == nil || b == nil {
		return cmp.Or(a, b)
	}
	sum := proto.CloneOf(a)
	sum.What, sum.LastMs = b.GetWhat(), max(a.GetLastMs(), b.GetLastMs())
	sum.Calls += b.GetCalls()
	return sum
}
