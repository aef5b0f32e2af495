package signals

import (
	"time"
)

// disk tells how much of the time somebody waited for a disk, all the time and everywhere. Our own waiting is in it: units
// write little, but while blobs are copied part of it is ours. Waited knows better where it can, and costs more.
type disk struct {
	o     Options
	at    time.Time
	total time.Duration
}

func newDisk(o Options) *disk { return &disk{o: o} }

// read returns no value the first time: there is nothing to compare with.
func (d *disk) read(now time.Time) (Reading[float64], error) {
	total, err := d.waited()
	if err != nil {
		return Reading[float64]{}, err
	}
	span, waited := now.Sub(d.at), total-d.total
	first := d.at.IsZero() || span <= 0
	d.at, d.total = now, total
	if first {
		return Reading[float64]{}, nil
	}
	return Reading[float64]{At: now, Value: min(max(0, waited.Seconds()/span.Seconds()), 1)}, nil
}

// waited returns how long somebody waited, since some beginning: by the kernel's own count, else how long the busiest
// disk worked.
func (d *disk) waited() (time.Duration, error) {
	if p, ok := pressureOf(d.o.Root, "io"); ok {
		return p.total, nil
	}
	return diskTime(d.o)
}
