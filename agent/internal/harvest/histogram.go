package harvest

import "time"

// bounds are the upper ends of a Histogram's buckets: around the 100 ms of promise P9 and the 250 ms that disturb.
var bounds = [...]time.Duration{
	time.Millisecond, 2 * time.Millisecond, 5 * time.Millisecond, 10 * time.Millisecond, 20 * time.Millisecond,
	50 * time.Millisecond, 100 * time.Millisecond, 250 * time.Millisecond, 500 * time.Millisecond, time.Second, 5 * time.Second,
}

// Histogram counts times in fixed buckets.
type Histogram struct {
	Counts [len(bounds) + 1]uint64 `json:"counts"` // the last is of what is longer than all bounds
	Sum    time.Duration           `json:"sum_ns"`
	Max    time.Duration           `json:"max_ns"`
}

// Bounds returns the upper ends of all buckets but the last, which has none.
func Bounds() []time.Duration { return bounds[:] }

// Observe counts one time. A negative one, of a clock that was set, counts as none.
func (h *Histogram) Observe(d time.Duration) {
	d = max(0, d)
	i := 0
	for i < len(bounds) && d > bounds[i] {
		i++
	}
	h.Counts[i]++
	h.Sum += d
	h.Max = max(h.Max, d)
}

// Count returns how many times were counted.
func (h *Histogram) Count() (n uint64) {
	for _, c := range h.Counts {
		n += c
	}
	return n
}

// Quantile returns a time that a share q of all did not exceed: the end of a bucket, or the longest. It is 0 where
// nothing was counted.
func (h *Histogram) Quantile(q float64) time.Duration {
	n := h.Count()
	seen := uint64(0)
	for i, bound := range bounds {
		if seen += h.Counts[i]; n > 0 && float64(seen) >= q*float64(n) {
			return min(bound, h.Max)
		}
	}
	return h.Max
}
