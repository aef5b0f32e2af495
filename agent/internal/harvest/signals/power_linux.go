package signals

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"time"
)

// maxSupplies bounds how many power supplies or sensors are looked at.
const maxSupplies = 64

// power reads the kernel's power supplies: see Documentation/ABI/testing/sysfs-class-power of Linux.
type power struct{ folder string }

func newPower(o Options) *power { return &power{filepath.Join(o.Root, "sys/class/power_supply")} }

func (p *power) read(now time.Time) (Reading[Power], error) {
	names, err := list(p.folder)
	if err != nil {
		return Reading[Power]{}, err
	}
	var mains, online, discharging bool
	var batteries, charge float64
	for _, name := range names {
		of := func(file string) string {
			word, _ := readWord(filepath.Join(p.folder, name, file)) // not all have all files
			return word
		}
		switch kind := of("type"); {
		case kind == "Mains" || kind == "USB":
			mains, online = true, online || of("online") == "1"
		case kind != "Battery" || of("scope") == "Device" || of("present") == "0": // that of a mouse, or none
		default:
			percent, err := readNumber(filepath.Join(p.folder, name, "capacity"))
			if err != nil || !(percent >= 0 && percent <= 100) {
				percent = 0 // not known reads as empty
			}
			batteries++
			charge += percent / 100
			discharging = discharging || of("status") == "Discharging"
		}
	}
	if batteries == 0 {
		return Reading[Power]{At: now, None: true}, nil
	}
	return Reading[Power]{At: now, Value: Power{Battery: !online && (mains || discharging), Charge: charge / batteries}}, nil
}

// list returns the names in a folder; one that is not there has none.
func list(folder string) ([]string, error) {
	f, err := os.Open(folder)
	if os.IsNotExist(err) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	names, err := f.Readdirnames(maxSupplies)
	if errors.Is(err, io.EOF) {
		return nil, nil
	}
	return names, err
}
