package main

func (b *bench) index() error   { return nil }
func (b *bench) memory() error  { return nil }
func (b *bench) scaling() error { return nil }
