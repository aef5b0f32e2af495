package signals

import "time"

// memory tells what is left, and whether somebody waits for it.
type memory struct{ o Options }

func newMemory(o Options) *memory { return &memory{o} }

func (m *memory) read(now time.Time) (Reading[Memory], error) {
	total, available, err := memoryLeft(m.o)
	if err != nil {
		return Reading[Memory]{}, err
	}
	reading := Reading[Memory]{At: now, Value: Memory{Total: total, Available: available}}
	if p, ok := pressureOf(m.o.Root, "memory"); ok {
		reading.Value.Pressure = p.share
	}
	return reading, nil
}
