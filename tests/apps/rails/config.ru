# The Rails application of application.rb, as a generated config.ru would run it.
require_relative 'application'

run Rails.application
