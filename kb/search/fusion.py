"""stub, replaced at merge"""
