package blobs

func fromStatus(err error) error { return err }
