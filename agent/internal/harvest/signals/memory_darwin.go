package signals

import (
	"errors"

	"github.com/shirou/gopsutil/v4/mem"
)

// memoryLeft returns bytes.
func memoryLeft(Options) (total, available int64, err error) {
	v, err := mem.VirtualMemory()
	if err != nil {
		return 0, 0, err
	}
	if v.Total == 0 {
		return 0, 0, errors.New("the system tells no memory")
	}
	return int64(v.Total), int64(v.Available), nil
}
