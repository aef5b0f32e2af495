package signals

import (
	"time"

	gopsutil "github.com/shirou/gopsutil/v4/disk"
)

// diskTime returns how long the busiest disk has worked: its busy time, or where the system does not count that the
// time of its reads and writes.
func diskTime(Options) (time.Duration, error) {
	all, err := gopsutil.IOCounters()
	if err != nil {
		return 0, err
	}
	var most uint64
	for _, d := range all {
		busy := d.IoTime
		if busy == 0 {
			busy = d.ReadTime + d.WriteTime
		}
		most = max(most, busy)
	}
	return time.Duration(most) * time.Millisecond, nil
}
