package guest

//go:wasmimport grid progress
func progress(fraction float64)
