//go:build !wasip1

package guest

func progress(float64) {}
