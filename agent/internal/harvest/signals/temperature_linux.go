package signals

import (
	"path/filepath"
	"strings"
	"time"
)

// hottest is the most that a sensor is believed, in °C; some show nonsense while they are off.
const hottest = 150

// temperature reads the sensors of the processor: thermal zones, and chips of the kind that processors have.
type temperature struct{ zones, chips string }

func newTemperature(o Options) *temperature {
	return &temperature{filepath.Join(o.Root, "sys/class/thermal"), filepath.Join(o.Root, "sys/class/hwmon")}
}

func (t *temperature) read(now time.Time) (Reading[float64], error) {
	var found []string
	zones, err := list(t.zones)
	if err != nil {
		return Reading[float64]{}, err
	}
	for _, name := range zones {
		if kind, err := readWord(filepath.Join(t.zones, name, "type")); err == nil && ofProcessor(kind) {
			found = append(found, filepath.Join(t.zones, name, "temp"))
		}
	}
	chips, err := list(t.chips)
	if err != nil {
		return Reading[float64]{}, err
	}
	for _, name := range chips {
		if kind, err := readWord(filepath.Join(t.chips, name, "name")); err == nil && ofProcessor(kind) {
			inputs, err := filepath.Glob(filepath.Join(t.chips, name, "temp*_input"))
			if err != nil {
				return Reading[float64]{}, err
			}
			found = append(found, inputs[:min(len(inputs), maxSupplies)]...)
		}
	}
	reading := Reading[float64]{At: now, None: true}
	for _, path := range found {
		// In thousandths. One that cannot be read is off.
		if milli, err := readNumber(path); err == nil && milli > 0 && milli <= hottest*1000 {
			reading.None, reading.Value = false, max(reading.Value, milli/1000)
		}
	}
	return reading, nil
}

// ofProcessor knows the names that Linux drivers give their sensors in processors.
func ofProcessor(kind string) bool {
	for _, name := range []string{"x86_pkg_temp", "coretemp", "k10temp", "k8temp", "zenpower"} {
		if kind == name {
			return true
		}
	}
	return strings.Contains(kind, "cpu") || strings.HasPrefix(kind, "soc")
}
