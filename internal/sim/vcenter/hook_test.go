package vcenter

// SetHook has f called at moments within operations.
func (s *Server) SetHook(f func(moment string)) { s.hook = f }
