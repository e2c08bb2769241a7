package director

// cancelUpload gives up an upload; its task ends by itself.
func (s *Server) cancelUpload(t *transfer) {
	if t == nil {
		return
	}
	if task := s.tasks[t.task]; task != nil && !task.over() {
		task.cancelRequested = true
		task.cancel()
	}
}
