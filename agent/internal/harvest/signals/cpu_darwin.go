package signals

import (
	"errors"
	"time"

	gopsutil "github.com/shirou/gopsutil/v4/cpu"
)

// busyTime returns how long the cores worked, all together. Version 3 of the library has no CPU times here without
// cgo.
func busyTime(Options) (time.Duration, error) {
	all, err := gopsutil.Times(false)
	if err != nil {
		return 0, err
	}
	if len(all) == 0 {
		return 0, errors.New("the system tells no CPU times")
	}
	return time.Duration((all[0].User + all[0].Nice + all[0].System) * float64(time.Second)), nil
}
