class NgramModel: pass
