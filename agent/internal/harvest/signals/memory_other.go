//go:build !darwin

package signals

import (
	"errors"

	"github.com/shirou/gopsutil/v3/mem"
)

// memoryLeft returns bytes.
func memoryLeft(o Options) (total, available int64, err error) {
	v, err := mem.VirtualMemoryWithContext(under(o))
	if err != nil {
		return 0, 0, err
	}
	if v.Total == 0 {
		return 0, 0, errors.New("the system tells no memory")
	}
	return int64(v.Total), int64(v.Available), nil
}
