"""What is known of served programs: answers, feedback on them, and how their inputs drift."""
