package blobs

import (
	"bytes"
	"context"
	"errors"
	"io"
	"testing"
	"testing/synctest"
	"time"

	"idlegrid/jobs"
)

// bound returns what makes a throttle with a bound of the network alone.
func bound(network int64) func() *Throttle {
	return func() *Throttle {
		throttle := &Throttle{}
		throttle.Set(network, noBound)
		return throttle
	}
}

// TestThrottleOfTheNetwork: what is sent keeps to the bound, and that is not held against the other end; without a bound,
// or where it was lifted, nothing waits.
func TestThrottleOfTheNetwork(t *testing.T) {
	const size = 8 << 20
	for name, test := range map[string]struct {
		set  func() *Throttle
		want time.Duration // give or take the first chunk
	}{
		"none":        {func() *Throttle { return nil }, 0},
		"no bound":    {func() *Throttle { return &Throttle{} }, 0},
		"1 MiB/s":     {bound(1 << 20), 8 * time.Second},
		"the least":   {bound(leastRate), size / leastRate * time.Second},
		"0 is little": {bound(0), size / leastRate * time.Second},
		"lifted": {func() *Throttle {
			throttle := bound(1 << 20)()
			throttle.Lift()
			return throttle
		}, 0},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				throttle := test.set()
				begun := time.Now()
				err := sendChunks(newPace(t.Context(), throttle), bytes.NewReader(make([]byte, size)), size, func([]byte) error { return nil })
				took := time.Since(begun)
				if err != nil || took > test.want || took < test.want-chunkSize/leastRate*time.Second {
					t.Errorf("took %s, expected %s: %v", took, test.want, err)
				}
				left := newPace(t.Context(), throttle)
				in := &incoming{pace: left, next: func() ([]byte, error) {
					if left.moved == size {
						return nil, io.EOF
					}
					return make([]byte, chunkSize), nil
				}}
				begun = time.Now()
				n, err := io.Copy(io.Discard, in)
				if took := time.Since(begun); err != nil || n != size || took > test.want+chunkSize/leastRate*time.Second {
					t.Errorf("received %d bytes in %s: %v", n, took, err)
				}
			})
		})
	}
}

// TestThrottleOfTheDisk: blobs are written as fast as the bound lets them.
func TestThrottleOfTheDisk(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir, err := OpenDir(t.TempDir(), 0)
		if err != nil {
			t.Fatal(err)
		}
		defer func() {
			if err := dir.Close(); err != nil {
				t.Error(err)
			}
		}()
		dir.Throttle = &Throttle{}
		dir.Throttle.Set(1, 1<<20)
		data := make([]byte, 4<<20)
		b := jobs.Blob{Digest: jobs.DigestOf(data), Size: int64(len(data))}
		begun := time.Now()
		if err := dir.Put(Claim{Job: jobs.JobID{1}}, b, bytes.NewReader(data)); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(begun); took < 3*time.Second || took > 5*time.Second {
			t.Errorf("4 MiB at 1 MiB/s took %s", took)
		}
		if n := dir.Throttle.Written(); n != b.Size {
			t.Errorf("%d bytes were written, expected %d", n, b.Size)
		}
	})
}

// TestThrottleEndsWithItsStream: who waits for the bound does not outlive the transfer.
func TestThrottleEndsWithItsStream(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		throttle := &Throttle{}
		throttle.Set(leastRate, 1)
		stream, cancel := context.WithCancel(t.Context())
		defer cancel()
		time.AfterFunc(time.Second, cancel)
		begun := time.Now()
		err := sendChunks(newPace(stream, throttle), bytes.NewReader(make([]byte, 1<<20)), 1<<20, func([]byte) error { return nil })
		if took := time.Since(begun); err == nil || errors.Is(err, io.EOF) || took > 2*time.Second {
			t.Errorf("took %s: %v", took, err)
		}
	})
}
