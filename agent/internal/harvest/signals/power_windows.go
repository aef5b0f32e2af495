package signals

import (
	"fmt"
	"time"
	"unsafe"

	"golang.org/x/sys/windows"
)

// powerStatus is SYSTEM_POWER_STATUS.
type powerStatus struct {
	line, flag, percent, saver byte
	life, full                 uint32
}

// noBattery and unknown are values of its flag and percent; lineBattery is one of its line.
const (
	noBattery, unknown = 128, 255
	lineBattery        = 0
)

// systemPower is GetSystemPowerStatus, which x/sys does not have.
var systemPower = windows.NewLazySystemDLL("kernel32.dll").NewProc("GetSystemPowerStatus")

type power struct{}

func newPower(Options) *power { return &power{} }

func (*power) read(now time.Time) (Reading[Power], error) {
	var s powerStatus
	if ok, _, err := systemPower.Call(uintptr(unsafe.Pointer(&s))); ok == 0 {
		return Reading[Power]{}, fmt.Errorf("ask for the power: %w", err)
	}
	switch {
	case s.flag == unknown:
		return Reading[Power]{}, nil
	case s.flag&noBattery != 0:
		return Reading[Power]{At: now, None: true}, nil
	}
	reading := Reading[Power]{At: now, Value: Power{Battery: s.line == lineBattery || s.line == unknown}}
	if s.percent <= 100 { // else it is not known, which reads as empty
		reading.Value.Charge = float64(s.percent) / 100
	}
	return reading, nil
}
